//! The alterations: what is done behind the operator's back, what it is to say of it, what it is to do about it.

use aws_sdk_iam::types::Tag as IamTag;
use aws_sdk_s3::types::{PublicAccessBlockConfiguration, Tag as S3Tag, Tagging};

use crate::scene::Scene;
use crate::support::aws_state::{self, iam, s3};
use crate::support::block_on;

/// What is altered: request `a`'s role or Secret, or a part of the issuer.
pub enum What {
    Role,
    Provider,
    Bucket,
    Discovery,
    Keys,
    Secret,
}

impl What {
    /// Its name in status.
    pub fn resource(&self, scene: &Scene) -> String {
        match self {
            Self::Role => format!("role/{}", scene.role_name("a")),
            Self::Provider => format!("provider/{}", scene.issuer_host()),
            Self::Bucket => format!("bucket/{}", scene.bucket()),
            Self::Discovery => format!("bucket/{}/{DISCOVERY}", scene.bucket()),
            Self::Keys => format!("bucket/{}/{KEYS}", scene.bucket()),
            Self::Secret => format!("secret/{}/a-creds", scene.name),
        }
    }
}

pub struct Case {
    pub name: &'static str,
    pub what: What,
    pub alter: fn(&Scene),
    /// Whether a pass must be asked for; a Secret with our label is watched.
    pub poke: bool,
    /// The fields that are named, with a piece of what is found there.
    pub fields: &'static [(&'static str, &'static str)],
    /// The changes that heal it, in order.
    pub changes: &'static [&'static str],
}

const DISCOVERY: &str = ".well-known/openid-configuration";
const KEYS: &str = "keys.json";

const fn case(
    name: &'static str,
    what: What,
    fields: &'static [(&'static str, &'static str)],
    changes: &'static [&'static str],
    alter: fn(&Scene),
) -> Case {
    let poke = !matches!(what, What::Secret);
    Case { name, what, alter, poke, fields, changes }
}

fn iam_tag(key: &str, value: &str) -> IamTag {
    IamTag::builder().key(key).value(value).build().expect("a tag")
}

fn owner_tag(scene: &Scene) -> String {
    format!("openshift.io/cloud-credential-operator/{}", scene.name)
}

pub const ROLE: &[Case] = &[
    case("the trust policy changed", What::Role, &[("trustPolicy", "111111111111")], &["UpdateTrust"], |scene| {
        let evil = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111111111111:root"},"Action":"sts:AssumeRole"}]}"#;
        let update = iam().update_assume_role_policy().role_name(scene.role_name("a")).policy_document(evil);
        block_on(update.send()).expect("UpdateAssumeRolePolicy");
    }),
    case("the inline policy changed", What::Role, &[("inlinePolicy", "s3:*")], &["PutInlinePolicy"], |scene| {
        let wide = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;
        let role = scene.role_name("a");
        let put = iam().put_role_policy().role_name(&role).policy_name(&role).policy_document(wide);
        block_on(put.send()).expect("PutRolePolicy");
    }),
    case("the inline policy deleted", What::Role, &[("inlinePolicy", "missing")], &["PutInlinePolicy"], |scene| {
        delete_inline_policy(scene);
    }),
    case("the description changed", What::Role, &[("description", "mine now")], &["UpdateRole"], |scene| {
        let update = iam().update_role().role_name(scene.role_name("a")).description("mine now");
        block_on(update.send()).expect("UpdateRole");
    }),
    case("the session longer", What::Role, &[("maxSessionDuration", "43200 s")], &["UpdateRole"], |scene| {
        let update = iam().update_role().role_name(scene.role_name("a")).max_session_duration(43_200);
        block_on(update.send()).expect("UpdateRole");
    }),
    case("another boundary", What::Role, &[("permissionsBoundary", "policy/lax")], &["PutBoundary"], |scene| {
        let put = iam().put_role_permissions_boundary().role_name(scene.role_name("a"));
        block_on(put.permissions_boundary("arn:aws:iam::123456789012:policy/lax").send()).expect("PutBoundary");
    }),
    case("the boundary removed", What::Role, &[("permissionsBoundary", "none")], &["PutBoundary"], |scene| {
        let delete = iam().delete_role_permissions_boundary().role_name(scene.role_name("a"));
        block_on(delete.send()).expect("DeleteRolePermissionsBoundary");
    }),
    case(
        "the owner tag removed",
        What::Role,
        &[("tags", "no openshift.io/cloud-credential-operator/")],
        &["TagRole"],
        |scene| {
            let untag = iam().untag_role().role_name(scene.role_name("a")).tag_keys(owner_tag(scene));
            block_on(untag.send()).expect("UntagRole");
        },
    ),
    case("our role tag changed", What::Role, &[("tags", "cost-centre=43")], &["TagRole"], |scene| {
        let tag = iam().tag_role().role_name(scene.role_name("a")).tags(iam_tag("cost-centre", "43"));
        block_on(tag.send()).expect("TagRole");
    }),
    case(
        "the role deleted",
        What::Role,
        &[("role", "missing"), ("inlinePolicy", "missing")],
        &["CreateRole", "PutInlinePolicy"],
        |scene| {
            if aws_state::role(&scene.role_name("a")).is_some_and(|role| !role.inline.is_empty()) {
                delete_inline_policy(scene);
            }
            block_on(iam().delete_role().role_name(scene.role_name("a")).send()).expect("DeleteRole");
        },
    ),
];

fn delete_inline_policy(scene: &Scene) {
    let role = scene.role_name("a");
    block_on(iam().delete_role_policy().role_name(&role).policy_name(&role).send()).expect("DeleteRolePolicy");
}

pub const PROVIDER: &[Case] = &[
    case("an audience added", What::Provider, &[("audiences", "evil")], &["RemoveAudience"], |scene| {
        let add = iam().add_client_id_to_open_id_connect_provider().open_id_connect_provider_arn(scene.provider_arn());
        block_on(add.client_id("evil").send()).expect("AddClientID");
    }),
    case("an audience removed", What::Provider, &[("audiences", "no openshift")], &["AddAudience"], |scene| {
        let remove = iam().remove_client_id_from_open_id_connect_provider();
        let remove = remove.open_id_connect_provider_arn(scene.provider_arn()).client_id("openshift");
        block_on(remove.send()).expect("RemoveClientID");
    }),
    case("a provider tag removed", What::Provider, &[("tags", "no Name")], &["TagProvider"], |scene| {
        let untag = iam().untag_open_id_connect_provider().open_id_connect_provider_arn(scene.provider_arn());
        block_on(untag.tag_keys("Name").send()).expect("UntagOpenIDConnectProvider");
    }),
    case(
        "the provider's owner tag removed",
        What::Provider,
        &[("tags", "no openshift.io/cloud-credential-operator/")],
        &["TagProvider"],
        |scene| {
            let untag = iam().untag_open_id_connect_provider().open_id_connect_provider_arn(scene.provider_arn());
            block_on(untag.tag_keys(owner_tag(scene)).send()).expect("UntagOpenIDConnectProvider");
        },
    ),
    case("the provider deleted", What::Provider, &[("provider", "missing")], &["CreateProvider"], |scene| {
        let delete = iam().delete_open_id_connect_provider().open_id_connect_provider_arn(scene.provider_arn());
        block_on(delete.send()).expect("DeleteOpenIDConnectProvider");
    }),
];

pub const BUCKET: &[Case] = &[
    case("a bucket tag changed", What::Bucket, &[("tags", "Name=other")], &["TagBucket"], |scene| {
        put_bucket_tag(scene, "Name", "other");
    }),
    case(
        "all bucket tags removed",
        What::Bucket,
        &[("tags", "no openshift.io/cloud-credential-operator/")],
        &["TagBucket"],
        |scene| {
            block_on(s3().delete_bucket_tagging().bucket(scene.bucket()).send()).expect("DeleteBucketTagging");
        },
    ),
    case(
        "the public-access block changed",
        What::Bucket,
        &[("publicAccessBlock", "restrict_public_buckets: true")],
        &["PutPublicAccessBlock"],
        |scene| {
            let closed = PublicAccessBlockConfiguration::builder().restrict_public_buckets(true).build();
            let put = s3().put_public_access_block().bucket(scene.bucket()).public_access_block_configuration(closed);
            block_on(put.send()).expect("PutPublicAccessBlock");
        },
    ),
    case(
        "the public-access block removed",
        What::Bucket,
        &[("publicAccessBlock", "none")],
        &["PutPublicAccessBlock"],
        |scene| {
            block_on(s3().delete_public_access_block().bucket(scene.bucket()).send()).expect("DeletePublicAccessBlock");
        },
    ),
    case(
        "the bucket policy changed",
        What::Bucket,
        &[("bucketPolicy", "s3:PutObject")],
        &["PutBucketPolicy"],
        |scene| {
            let bucket = scene.bucket();
            let policy = format!(
                r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::{bucket}/*"}}]}}"#
            );
            block_on(s3().put_bucket_policy().bucket(bucket).policy(policy).send()).expect("PutBucketPolicy");
        },
    ),
    case("the bucket policy removed", What::Bucket, &[("bucketPolicy", "missing")], &["PutBucketPolicy"], |scene| {
        block_on(s3().delete_bucket_policy().bucket(scene.bucket()).send()).expect("DeleteBucketPolicy");
    }),
];

/// Sets one tag, as the console does: the others are read and go along.
fn put_bucket_tag(scene: &Scene, key: &str, value: &str) {
    let mut tags = aws_state::bucket(&scene.bucket()).expect("the bucket").tags;
    tags.insert(key.to_owned(), value.to_owned());
    let tags = tags.into_iter().map(|(key, value)| S3Tag::builder().key(key).value(value).build().expect("a tag"));
    let tagging = Tagging::builder().set_tag_set(Some(tags.collect())).build().expect("tags");
    block_on(s3().put_bucket_tagging().bucket(scene.bucket()).tagging(tagging).send()).expect("PutBucketTagging");
}

pub const DOCUMENTS: &[Case] = &[
    case("another discovery document", What::Discovery, &[("discovery", "27 other bytes")], &["PutObject"], |scene| {
        put(scene, DISCOVERY, "application/json", Some(r#"{"issuer":"https://e.vil/"}"#));
    }),
    case("discovery as a web page", What::Discovery, &[("contentType", "text/html")], &["PutObject"], |scene| {
        put_ours(scene, DISCOVERY);
    }),
    case("discovery deleted", What::Discovery, &[("discovery", "missing")], &["PutObject"], |scene| {
        delete(scene, DISCOVERY);
    }),
    case("no key in keys.json", What::Keys, &[("keys", "keys ")], &["PutObject"], |scene| {
        put(scene, KEYS, "application/json", Some(r#"{"keys":[]}"#));
    }),
    case("no JSON in keys.json", What::Keys, &[("keys", "4 other bytes")], &["PutObject"], |scene| {
        put(scene, KEYS, "application/json", Some("gone"));
    }),
    case("keys.json as a web page", What::Keys, &[("contentType", "text/html")], &["PutObject"], |scene| {
        put_ours(scene, KEYS);
    }),
    case("keys.json deleted", What::Keys, &[("keys", "missing")], &["PutObject"], |scene| {
        delete(scene, KEYS);
    }),
];

fn put(scene: &Scene, key: &str, content_type: &str, body: Option<&str>) {
    let body = body.unwrap_or_default().as_bytes().to_vec();
    let put = s3().put_object().bucket(scene.bucket()).key(key).content_type(content_type).body(body.into());
    block_on(put.send()).expect("PutObject");
}

/// The document as it is, with another content type: a browser would run it.
fn put_ours(scene: &Scene, key: &str) {
    let body = aws_state::bucket(&scene.bucket()).expect("the bucket").objects[key].body.clone();
    put(scene, key, "text/html", Some(&body));
}

fn delete(scene: &Scene, key: &str) {
    block_on(s3().delete_object().bucket(scene.bucket()).key(key).send()).expect("DeleteObject");
}

pub const SECRET: &[Case] = &[
    case("other credentials", What::Secret, &[("credentials", "role/mine")], &["WriteSecret"], |scene| {
        let patch = r#"{"stringData":{"credentials":"[default]\nrole_arn = arn:aws:iam::1:role/mine\nweb_identity_token_file = /t"}}"#;
        kubectl(scene, &["patch", "secret", "a-creds", "-p", patch]);
    }),
    case("no credentials", What::Secret, &[("credentials", "no credentials entry")], &["WriteSecret"], |scene| {
        kubectl(scene, &["patch", "secret", "a-creds", "-p", r#"{"data":{"credentials":null}}"#]);
    }),
    case("a label removed", What::Secret, &[("labels", "not as set")], &["WriteSecret"], |scene| {
        kubectl(scene, &["label", "secret", "a-creds", "app.kubernetes.io/managed-by-"]);
    }),
    case("upstream's label changed", What::Secret, &[("labels", "not as set")], &["WriteSecret"], |scene| {
        let label = "cloudcredential.openshift.io/credentials-request=false";
        kubectl(scene, &["label", "--overwrite", "secret", "a-creds", label]);
    }),
    case("an annotation changed", What::Secret, &[("labels", "not as set")], &["WriteSecret"], |scene| {
        let annotation = "cloudcredential.openshift.io/credentials-request=some/other";
        kubectl(scene, &["annotate", "--overwrite", "secret", "a-creds", annotation]);
    }),
    case("the Secret deleted", What::Secret, &[("secret", "missing")], &["WriteSecret"], |scene| {
        kubectl(scene, &["delete", "secret", "a-creds"]);
    }),
];

fn kubectl(scene: &Scene, args: &[&str]) {
    scene.cluster.kubectl_ok(&[args, &["-n", &scene.name]].concat());
}

/// Marks of others on each of our things.
pub const FOREIGN: &[fn(&Scene)] = &[
    |scene| {
        let tag = iam().tag_role().role_name(scene.role_name("a")).tags(iam_tag("team", "blue"));
        block_on(tag.send()).expect("TagRole");
    },
    |scene| {
        let tag = iam().tag_open_id_connect_provider().open_id_connect_provider_arn(scene.provider_arn());
        block_on(tag.tags(iam_tag("team", "blue")).send()).expect("TagOpenIDConnectProvider");
    },
    |scene| put_bucket_tag(scene, "team", "blue"),
    |scene| kubectl(scene, &["label", "secret", "a-creds", "team=blue"]),
    |scene| kubectl(scene, &["annotate", "secret", "a-creds", "team=blue"]),
];
