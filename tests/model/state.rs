//! What there is, seen and altered past the API: nothing here is counted, checked or broken.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use tokio::time::Instant;

use super::Model;
use super::clock::Moment;
use super::document::Document;
use super::history::AsOf;
use super::resources::{Bucket, Content, Object, Policy, Provider, Role, Tags, Version};
use super::s3::access::public_may;
use super::s3::objects::{etag, row};
use super::service::Inner;

/// From when on reads see what a test altered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visible {
    /// At once, also where reads are stale.
    AtOnce,
    /// As late as any other write.
    Eventually,
}

impl Inner {
    fn moment(&self, visible: Visible) -> Moment {
        let keep = if visible == Visible::AtOnce { Duration::ZERO } else { self.switches.horizon() };
        Moment { now: Instant::now(), keep }
    }
}

/// Roles.
impl Model {
    pub fn role(&self, account: &str, name: &str) -> Option<Arc<Role>> {
        self.lock().world.account_mut(account).roles.get(&name.to_ascii_lowercase()).cloned()
    }

    /// All roles of an account, by name.
    pub fn roles(&self, account: &str) -> Vec<Arc<Role>> {
        self.lock().world.account_mut(account).roles.iter().map(|(_, role)| role.clone()).collect()
    }

    /// A role with this trust policy and AWS's defaults, put in place of any other. Its ARN.
    pub fn put_role(&self, account: &str, name: &str, trust: &str, visible: Visible) -> String {
        let mut inner = self.lock();
        let moment = inner.moment(visible);
        let (id, created) = (inner.world.new_id("AROA", 21), inner.world.clock.iso(moment.now));
        let account = inner.world.account_mut(account);
        let arn = account.arn(&format!("role/{name}"));
        let role = Role {
            name: name.to_owned(),
            path: "/".to_owned(),
            arn: arn.clone(),
            id,
            created: created.into(),
            description: None,
            max_session_seconds: 3600,
            trust: Document::new(trust),
            inline: BTreeMap::new(),
            attached: BTreeSet::new(),
            boundary: None,
            tags: Tags::new(),
            instance_profiles: BTreeSet::new(),
        };
        account.roles.put(&name.to_ascii_lowercase(), role, moment);
        arn
    }

    /// Alters a role; whether there was one.
    pub fn alter_role(&self, account: &str, name: &str, visible: Visible, alter: impl FnOnce(&mut Role)) -> bool {
        let mut inner = self.lock();
        let moment = inner.moment(visible);
        inner.world.account_mut(account).roles.change(&name.to_ascii_lowercase(), moment, alter).is_some()
    }

    /// Deletes a role with all that it has; whether there was one.
    pub fn delete_role(&self, account: &str, name: &str, visible: Visible) -> bool {
        let mut inner = self.lock();
        let moment = inner.moment(visible);
        inner.world.account_mut(account).roles.remove(&name.to_ascii_lowercase(), moment).is_some()
    }

    /// Puts a role into an instance profile, which is made for it.
    pub fn add_to_instance_profile(&self, account: &str, role: &str, profile: &str) {
        let found = self.alter_role(account, role, Visible::AtOnce, |role| {
            role.instance_profiles.insert(profile.to_owned());
        });
        assert!(found, "there is no role {role}");
    }

    /// A customer managed policy by its ARN.
    pub fn policy(&self, account: &str, arn: &str) -> Option<Arc<Policy>> {
        self.lock().world.account_mut(account).policies.get(arn).cloned()
    }

    /// A customer managed policy; its ARN.
    pub fn put_policy(&self, account: &str, name: &str, document: &str) -> String {
        let mut inner = self.lock();
        let moment = inner.moment(Visible::AtOnce);
        let (id, created) = (inner.world.new_id("ANPA", 21), inner.world.clock.iso(moment.now));
        let account = inner.world.account_mut(account);
        let arn = account.arn(&format!("policy/{name}"));
        let policy = Policy {
            arn: arn.clone(),
            name: name.to_owned(),
            path: "/".to_owned(),
            id,
            description: None,
            document: Document::new(document),
            created: created.into(),
        };
        account.policies.put(&arn, policy, moment);
        arn
    }
}

/// Providers.
impl Model {
    pub fn provider(&self, account: &str, arn: &str) -> Option<Arc<Provider>> {
        self.lock().world.account_mut(account).providers.get(arn).cloned()
    }

    /// All providers of an account, by ARN.
    pub fn providers(&self, account: &str) -> Vec<Arc<Provider>> {
        self.lock().world.account_mut(account).providers.iter().map(|(_, provider)| provider.clone()).collect()
    }

    /// A provider for this URL (without `https://`), put in place of any other. Its ARN.
    pub fn put_provider(&self, account: &str, url: &str, audiences: &[&str], visible: Visible) -> String {
        let mut inner = self.lock();
        let moment = inner.moment(visible);
        let created = inner.world.clock.iso(moment.now).into();
        let account = inner.world.account_mut(account);
        let arn = account.arn(&format!("oidc-provider/{url}"));
        let audiences = audiences.iter().map(|audience| (*audience).to_owned()).collect();
        let (url, thumbprints) = (url.to_owned(), vec!["a".repeat(40)]);
        let provider = Provider { arn: arn.clone(), url, audiences, thumbprints, tags: Tags::new(), created };
        account.providers.put(&arn, provider, moment);
        arn
    }

    /// Alters a provider; whether there was one.
    pub fn alter_provider(
        &self,
        account: &str,
        arn: &str,
        visible: Visible,
        alter: impl FnOnce(&mut Provider),
    ) -> bool {
        let mut inner = self.lock();
        let moment = inner.moment(visible);
        inner.world.account_mut(account).providers.change(arn, moment, alter).is_some()
    }

    /// Deletes a provider; whether there was one.
    pub fn delete_provider(&self, account: &str, arn: &str, visible: Visible) -> bool {
        let mut inner = self.lock();
        let moment = inner.moment(visible);
        inner.world.account_mut(account).providers.remove(arn, moment).is_some()
    }
}

/// Buckets and objects.
impl Model {
    pub fn bucket(&self, name: &str) -> Option<Arc<Bucket>> {
        self.lock().world.buckets.get(name).cloned()
    }

    /// All buckets of all accounts, by name.
    pub fn buckets(&self) -> Vec<Arc<Bucket>> {
        self.lock().world.buckets.iter().map(|(_, bucket)| bucket.clone()).collect()
    }

    /// A bucket as `CreateBucket` leaves it, put in place of any other.
    pub fn put_bucket(&self, account: &str, region: &str, name: &str, visible: Visible) {
        let mut inner = self.lock();
        let moment = inner.moment(visible);
        inner.world.buckets.put(name, Bucket::new(name, account, region), moment);
    }

    /// Alters a bucket; whether there was one.
    pub fn alter_bucket(&self, name: &str, visible: Visible, alter: impl FnOnce(&mut Bucket)) -> bool {
        let mut inner = self.lock();
        let moment = inner.moment(visible);
        inner.world.buckets.change(name, moment, alter).is_some()
    }

    /// Deletes a bucket with all that is in it; whether there was one.
    pub fn delete_bucket(&self, name: &str, visible: Visible) -> bool {
        let keys: Vec<String> = self.objects(name).into_keys().collect();
        for key in keys {
            self.delete_object(name, &key, visible);
        }
        let mut inner = self.lock();
        let moment = inner.moment(visible);
        inner.world.buckets.remove(name, moment).is_some()
    }

    /// All keys of a bucket with their versions, those that only have a delete marker on top too.
    pub fn objects(&self, bucket: &str) -> BTreeMap<String, Arc<Object>> {
        let inner = self.lock();
        let prefix = row(bucket, "");
        let rows = inner.world.objects.after(&prefix, AsOf::Now).take_while(|(key, _)| key.starts_with(&prefix));
        rows.map(|(key, object)| (key[prefix.len()..].to_owned(), object.clone())).collect()
    }

    /// What a GET of this key finds.
    pub fn object(&self, bucket: &str, key: &str) -> Option<Arc<Content>> {
        let inner = self.lock();
        inner.world.objects.get(&row(bucket, key))?.latest().map(|(_, content)| content.clone())
    }

    /// What anyone finds at `https://bucket.s3.region.amazonaws.com/key` without credentials: as
    /// [`read_anonymously`](Self::read_anonymously), but nothing is counted, late or broken.
    pub fn public_object(&self, url: &str) -> Option<Arc<Content>> {
        let (host, key) = url.strip_prefix("https://")?.split_once('/')?;
        let (bucket, endpoint) = host.split_once(".s3.")?;
        let found = self.bucket(bucket)?;
        let here = endpoint.strip_prefix(&found.region).is_some_and(|rest| rest.starts_with(".amazonaws.com"));
        let may = here && public_may(&found, "s3:GetObject", &format!("arn:aws:s3:::{bucket}/{key}"));
        may.then(|| self.object(bucket, key)).flatten()
    }

    /// Alters the latest version of an object, whose ETag follows its body; whether there was one.
    pub fn alter_object(&self, bucket: &str, key: &str, visible: Visible, alter: impl FnOnce(&mut Content)) -> bool {
        let mut inner = self.lock();
        let moment = inner.moment(visible);
        let altered = inner.world.objects.change(&row(bucket, key), moment, |object| {
            let content = object.versions.last_mut().and_then(|version| version.content.as_mut());
            content.map(|content| {
                let content = Arc::make_mut(content);
                alter(content);
                content.etag = etag(&content.body);
            })
        });
        altered.flatten().is_some()
    }

    /// Puts an object, as its only version.
    pub fn put_object(&self, bucket: &str, key: &str, body: impl Into<Bytes>, content_type: &str, visible: Visible) {
        let body = body.into();
        let content = Content {
            etag: etag(&body),
            body,
            content_type: content_type.to_owned(),
            cache_control: None,
            metadata: BTreeMap::new(),
            tags: Tags::new(),
        };
        let mut inner = self.lock();
        let moment = inner.moment(visible);
        let version = Version { id: "null".to_owned(), modified: moment.now, content: Some(Arc::new(content)) };
        inner.world.objects.put(&row(bucket, key), Object { versions: vec![version] }, moment);
    }

    /// Deletes an object with all its versions; whether there was one.
    pub fn delete_object(&self, bucket: &str, key: &str, visible: Visible) -> bool {
        let mut inner = self.lock();
        let moment = inner.moment(visible);
        inner.world.objects.remove(&row(bucket, key), moment).is_some()
    }
}

/// All of it.
impl Model {
    /// Everything that exists, one line each, in a fixed order and without dates, ids or ETags: two models with equal
    /// inventories hold the same.
    pub fn inventory(&self) -> Vec<String> {
        let inner = self.lock();
        let mut lines = Vec::new();
        for account in inner.world.accounts.values() {
            let id = &account.id;
            lines.extend(account.roles.iter().map(|(_, role)| format!("{id} role {}", role_line(role))));
            lines.extend(account.providers.iter().map(|(arn, provider)| {
                let (audiences, thumbprints) = (sorted(&provider.audiences), sorted(&provider.thumbprints));
                format!("{id} provider {arn} {audiences:?} {thumbprints:?} {:?}", provider.tags)
            }));
            lines.extend(
                account.policies.iter().map(|(arn, policy)| {
                    format!("{id} policy {arn} {:?} {:?}", policy.description, policy.document.text)
                }),
            );
        }
        lines.extend(inner.world.buckets.iter().map(|(name, bucket)| {
            let Bucket { owner, region, tags, block, policy, versioning, .. } = &**bucket;
            format!("{owner} bucket {name} {region} {tags:?} {block:?} {policy:?} {versioning:?}")
        }));
        for (row, object) in inner.world.objects.iter() {
            let versions = object.versions.iter().map(|version| {
                version.content.as_ref().map(|content| {
                    let Content { body, content_type, cache_control, metadata, tags, .. } = &**content;
                    format!("{content_type} {cache_control:?} {metadata:?} {tags:?} {body:?}")
                })
            });
            lines.push(format!("object {row} {:?}", versions.collect::<Vec<_>>()));
        }
        lines
    }

    /// The inventory in one number.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.inventory().hash(&mut hasher);
        hasher.finish()
    }
}

fn role_line(role: &Role) -> String {
    let inline: Vec<_> = role.inline.iter().map(|(name, document)| (name, &document.text)).collect();
    let parts: [&dyn Debug; 9] = [
        &role.arn,
        &role.description,
        &role.max_session_seconds,
        &role.trust.text,
        &inline,
        &role.attached,
        &role.boundary,
        &role.tags,
        &role.instance_profiles,
    ];
    format!("{parts:?}")
}

fn sorted(list: &[String]) -> BTreeSet<&str> {
    list.iter().map(String::as_str).collect()
}
