//! What others do to AWS resources and to Secrets.

use serde_json::json;

use super::super::cluster::encoded;
use super::super::seeds::Dice;
use super::super::wishes::{BUCKET, MARK, provider_arn};
use super::mistakes::{Undo, done};
use super::trial::{Trial, place};
use crate::model::{ACCOUNT, Document, PublicAccessBlock, Role, Visible};

const OWNER: &str = "rolecall.dev/owner";
const DISCOVERY: &str = ".well-known/openid-configuration";
const DENY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"ec2:*","Resource":"*"}]}"#;
const WIDE: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
const NARROW: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:DescribeInstances","Resource":"*"}]}"#;
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

/// One of the cluster's roles.
fn role(trial: &Trial, dice: &mut Dice) -> Option<String> {
    let roles: Vec<_> = trial.model.roles(ACCOUNT).into_iter().filter(|role| role.tags.contains_key(MARK)).collect();
    dice.one_of(&roles).map(|role| role.name.clone())
}

fn alter(trial: &mut Trial, dice: &mut Dice, alter: impl FnOnce(&mut Role)) -> Option<Undo> {
    let name = role(trial, dice)?;
    trial.note(&format!("somebody alters {name}"));
    trial.model.alter_role(ACCOUNT, &name, Visible::AtOnce, alter);
    done()
}

pub fn trust_of_other(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    let name = role(trial, dice)?;
    let other = format!("arn:aws:iam::{ACCOUNT}:oidc-provider/prod-eu-2-oidc.s3.eu-west-1.amazonaws.com");
    let exchange = |trial: &Trial, from: &str, to: &str| {
        trial.model.alter_role(ACCOUNT, &name, Visible::AtOnce, |role| {
            role.trust = Document::new(&role.trust.text.replace(from, to));
        })
    };
    exchange(trial, &provider_arn(), &other);
    let name = name.clone();
    // To who has never seen the role right it tells of another issuer.
    Some(Box::new(move |trial| {
        trial.model.alter_role(ACCOUNT, &name, Visible::AtOnce, |role| {
            role.trust = Document::new(&role.trust.text.replace(&other, &provider_arn()));
        });
    }))
}

pub fn policy_narrowed(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    alter(trial, dice, |role| drop(role.inline.insert(role.name.clone(), Document::new(NARROW))))
}

pub fn policy_widened(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    alter(trial, dice, |role| drop(role.inline.insert(role.name.clone(), Document::new(WIDE))))
}

/// In a policy of somebody else's, which Rolecall leaves alone.
pub fn deny_added(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    let name = role(trial, dice)?;
    trial.model.alter_role(ACCOUNT, &name, Visible::AtOnce, |role| {
        role.inline.insert("theirs".to_owned(), Document::new(DENY));
    });
    Some(Box::new(move |trial| {
        trial.model.alter_role(ACCOUNT, &name, Visible::AtOnce, |role| drop(role.inline.remove("theirs")));
    }))
}

pub fn tags_removed(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    let name = role(trial, dice)?;
    let before = trial.model.role(ACCOUNT, &name)?;
    trial.model.alter_role(ACCOUNT, &name, Visible::AtOnce, |role| role.tags.clear());
    Some(Box::new(move |trial| {
        // Without a mark and without a status that tells whose it is, it has to be tagged again.
        trial.model.alter_role(ACCOUNT, &name, Visible::AtOnce, |role| {
            if !role.tags.contains_key(MARK) && role.id == before.id {
                role.tags.insert(MARK.to_owned(), "owned".to_owned());
            }
        });
    }))
}

/// A document that somebody has to put back where Rolecall cannot know that it was not the one in force.
fn document(trial: &mut Trial, key: &'static str, body: &'static str) -> Option<Undo> {
    let before = trial.model.object(BUCKET, key)?;
    trial.model.put_object(BUCKET, key, body, "application/json", Visible::AtOnce);
    Some(Box::new(move |trial| {
        let now = trial.model.object(BUCKET, key);
        if now.is_some_and(|now| now.body == body) {
            trial.model.put_object(BUCKET, key, before.body.clone(), "application/json", Visible::AtOnce);
            trial.model.alter_object(BUCKET, key, Visible::AtOnce, |content| {
                content.metadata.clone_from(&before.metadata);
            });
        }
    }))
}

pub fn discovery_overwritten(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    let body = ["{}", r#"{"issuer":"https://elsewhere.example.com","jwks_uri":"https://elsewhere.example.com/keys"}"#];
    document(trial, DISCOVERY, dice.one_of(&body)?)
}

pub fn keys_replaced(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    let other = r#"{"keys":[{"use":"sig","kty":"RSA","kid":"theirs","alg":"RS256","n":"3q2-7w","e":"AQAB"}]}"#;
    document(trial, "keys.json", dice.one_of(&[other, r#"{"keys":[]}"#])?)
}

pub fn bucket_closed(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    let there = trial.model.alter_bucket(BUCKET, Visible::AtOnce, |bucket| {
        bucket.block = Some(PublicAccessBlock::all(true));
    });
    let open = PublicAccessBlock {
        block_public_policy: false,
        restrict_public_buckets: false,
        ..PublicAccessBlock::all(true)
    };
    there.then(|| -> Undo {
        // Where it was closed before it was seen to be ours, people open it.
        Box::new(move |trial| {
            trial.model.alter_bucket(BUCKET, Visible::AtOnce, |bucket| bucket.block = Some(open));
        })
    })
}

pub fn bucket_policy_replaced(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    let wide = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::{BUCKET}/*"}}]}}"#
    );
    let gone = dice.percent(50);
    let there = trial.model.alter_bucket(BUCKET, Visible::AtOnce, |bucket| {
        bucket.policy = if gone { None } else { Some(wide.as_str().into()) };
    });
    if there { done() } else { None }
}

pub fn audience_removed(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    let there = trial.model.alter_provider(ACCOUNT, &provider_arn(), Visible::AtOnce, |provider| {
        provider.audiences.retain(|audience| audience != "openshift");
    });
    if there { done() } else { None }
}

pub fn audience_added(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    let there = trial.model.alter_provider(ACCOUNT, &provider_arn(), Visible::AtOnce, |provider| {
        provider.audiences.push("theirs".to_owned());
    });
    if there { done() } else { None }
}

pub fn role_deleted(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    let name = role(trial, dice)?;
    trial.model.delete_role(ACCOUNT, &name, Visible::AtOnce);
    done()
}

pub fn provider_deleted(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    if trial.model.delete_provider(ACCOUNT, &provider_arn(), Visible::AtOnce) { done() } else { None }
}

pub fn bucket_deleted(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    if trial.model.delete_bucket(BUCKET, Visible::AtOnce) { done() } else { None }
}

pub fn document_deleted(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    let key = *dice.one_of(&[DISCOVERY, "keys.json"])?;
    if trial.model.delete_object(BUCKET, key, Visible::AtOnce) { done() } else { None }
}

pub fn role_made_anew(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    let name = role(trial, dice)?;
    trial.model.delete_role(ACCOUNT, &name, Visible::AtOnce);
    trial.model.put_role(ACCOUNT, &name, TRUST, Visible::AtOnce);
    let id = trial.model.role(ACCOUNT, &name)?.id.clone();
    trial.note(&format!("somebody makes {name} anew"));
    Some(Box::new(move |trial| {
        if trial.model.role(ACCOUNT, &name).is_some_and(|role| role.id == id) {
            trial.model.delete_role(ACCOUNT, &name, Visible::AtOnce);
        }
    }))
}

pub fn marks_removed(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    trial.strip_marks();
    done()
}

pub fn marks_foreign(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    let other = "other-hub.other-identity".to_owned();
    let name = role(trial, dice)?;
    let (of_role, of_provider, of_bucket) = (dice.percent(60), dice.percent(40), dice.percent(40));
    if of_role {
        trial.model.alter_role(ACCOUNT, &name, Visible::AtOnce, |role| {
            role.tags.insert(OWNER.to_owned(), other.clone());
        });
    }
    if of_provider {
        trial.model.alter_provider(ACCOUNT, &provider_arn(), Visible::AtOnce, |provider| {
            provider.tags.insert(OWNER.to_owned(), other.clone());
        });
    }
    if of_bucket {
        trial.model.alter_bucket(BUCKET, Visible::AtOnce, |bucket| {
            bucket.tags.get_or_insert_default().insert(OWNER.to_owned(), other.clone());
        });
    }
    Some(Box::new(|trial| trial.strip_marks()))
}

fn any(dice: &mut Dice) -> String {
    place(["alpha", "beta", "gamma", "delta"][usize::try_from(dice.below(4)).unwrap_or(0)])
}

pub fn secret_deleted(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    if trial.cluster.delete(&any(dice)) { done() } else { None }
}

pub fn secret_altered(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    let (place, how) = (any(dice), dice.below(3));
    let other = format!("arn:aws:iam::{ACCOUNT}:role/prod-eu-unmarked");
    let altered = trial.cluster.alter(&place, |secret| match how {
        0 => secret["data"]["credentials"] = encoded("[default]\nnothing = here\n").into(),
        1 => drop(secret["metadata"].as_object_mut().expect("metadata").shift_remove("labels")),
        _ => {
            let text = format!("[default]\nrole_arn = {other}\nweb_identity_token_file = /var/run/token");
            secret["data"]["credentials"] = encoded(&text).into();
        }
    });
    // One that no status and no mark tells of as ours has to be taken away by who has altered it.
    altered.then(|| -> Undo {
        Box::new(move |trial| {
            if how != 1 && trial.cluster.secret(&place).is_some_and(|now| !now["data"]["credentials"].is_null()) {
                trial.drop_if_not_ours(&place);
            }
        })
    })
}

pub fn secret_with_access_keys(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    let place = any(dice);
    trial.cluster.put(&place, &[("aws_access_key_id", "AKIA"), ("aws_secret_access_key", "hush")]);
    Some(Box::new(move |trial| {
        trial.cluster.alter(&place, |secret| {
            if !secret["data"]["aws_access_key_id"].is_null() {
                secret["metadata"]["annotations"] = json!({"rolecall.dev/replace-with": "sts"});
            }
        });
    }))
}
