//! Someone else in the account, who alters what is the cluster's.

use crate::model::{ACCOUNT, Document, Model, PublicAccessBlock, Visible};

use super::seeds::Dice;
use super::wishes::{BUCKET, MARK, provider_arn};

/// What the stranger may do.
#[derive(Debug, Clone, Copy)]
pub struct Leave {
    /// Touch the documents. Before the operator has seen them published, a strange one may be that of the issuer in force.
    pub documents: bool,
    /// Take our mark away, of the bucket or the provider. What was never seen to be right is nobody's then.
    pub marks: bool,
}

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}"#;
const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
const OPEN: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::prod-eu-oidc/*"}]}"#;

/// All that the stranger does.
pub const ALL: [&str; 21] = [
    "audience added",
    "audience taken away",
    "block closed",
    "boundary taken away",
    "bucket opened",
    "bucket policy deleted",
    "description changed",
    "discovery altered",
    "discovery deleted",
    "inline policy changed",
    "inline policy deleted",
    "keys altered",
    "keys deleted",
    "mark of bucket taken away",
    "mark of provider taken away",
    "provider deleted",
    "role deleted",
    "session lengthened",
    "tag of bucket taken away",
    "tag of role changed",
    "trust changed",
];

/// What was altered: one of [`ALL`], nothing when what was to be altered is not there; and of what.
pub type Altered = Option<(&'static str, String)>;

/// Alters something of the cluster's that Rolecall puts right again.
pub fn alter(model: &Model, dice: &mut Dice, leave: Leave) -> Altered {
    match dice.below(10) {
        0..5 => alter_role(model, dice),
        5..7 => alter_provider(model, dice, leave),
        7 => alter_document(model, dice, leave),
        _ => alter_bucket(model, dice, leave),
    }
}

fn alter_role(model: &Model, dice: &mut Dice) -> Altered {
    let ours: Vec<_> = model.roles(ACCOUNT).into_iter().filter(|role| role.tags.contains_key(MARK)).collect();
    let role = dice.one_of(&ours)?;
    let (name, bounded) = (role.name.clone(), role.boundary.is_some());
    let what = dice.below(8);
    if what == 0 {
        model.delete_role(ACCOUNT, &name, Visible::Eventually);
        return Some(("role deleted", name));
    }
    let mut kind = "";
    model.alter_role(ACCOUNT, &name, Visible::Eventually, |role| {
        kind = match what {
            1 => {
                role.description = Some("mine".to_owned());
                "description changed"
            }
            2 => {
                role.max_session_seconds = 7200;
                "session lengthened"
            }
            3 => {
                role.trust = Document::new(TRUST);
                "trust changed"
            }
            4 => {
                role.inline.remove(&name);
                "inline policy deleted"
            }
            5 if bounded => {
                role.boundary = None;
                "boundary taken away"
            }
            6 => {
                role.tags.insert("Name".to_owned(), "mine".to_owned());
                "tag of role changed"
            }
            _ => {
                role.inline.insert(name.clone(), Document::new(POLICY));
                "inline policy changed"
            }
        };
    });
    Some((kind, name))
}

fn alter_provider(model: &Model, dice: &mut Dice, leave: Leave) -> Altered {
    let (arn, what) = (provider_arn(), dice.below(4));
    if what == 0 {
        return model.delete_provider(ACCOUNT, &arn, Visible::Eventually).then_some(("provider deleted", arn));
    }
    let mut kind = "";
    let there = model.alter_provider(ACCOUNT, &arn, Visible::Eventually, |provider| {
        kind = match what {
            // Before that was seen to be right, it may be one that the spec had published.
            1 if leave.documents => {
                provider.audiences.push("mine".to_owned());
                "audience added"
            }
            2 if leave.marks => {
                provider.tags.remove(MARK);
                "mark of provider taken away"
            }
            _ => {
                provider.audiences.pop();
                "audience taken away"
            }
        };
    });
    there.then_some((kind, arn))
}

fn alter_document(model: &Model, dice: &mut Dice, leave: Leave) -> Altered {
    if !leave.documents {
        return None;
    }
    let keys = dice.percent(50);
    let key = if keys { "keys.json" } else { ".well-known/openid-configuration" };
    model.object(BUCKET, key)?;
    // S3 shows objects as they were last written.
    if dice.percent(50) {
        model.delete_object(BUCKET, key, Visible::AtOnce);
        return Some((if keys { "keys deleted" } else { "discovery deleted" }, key.to_owned()));
    }
    model.put_object(BUCKET, key, r#"{"keys":[]}"#, "application/json", Visible::AtOnce);
    Some((if keys { "keys altered" } else { "discovery altered" }, key.to_owned()))
}

fn alter_bucket(model: &Model, dice: &mut Dice, leave: Leave) -> Altered {
    let what = dice.below(5);
    let mut kind = "";
    let there = model.alter_bucket(BUCKET, Visible::Eventually, |bucket| {
        kind = match (what, &mut bucket.tags) {
            (0, _) => {
                bucket.policy = None;
                "bucket policy deleted"
            }
            (1, _) => {
                bucket.block = Some(PublicAccessBlock::all(true));
                "block closed"
            }
            (2, Some(tags)) if leave.marks => {
                tags.remove(MARK);
                "mark of bucket taken away"
            }
            (3, Some(tags)) => {
                tags.remove("Name");
                "tag of bucket taken away"
            }
            _ => {
                bucket.policy = Some(OPEN.into());
                "bucket opened"
            }
        };
    });
    there.then_some((kind, BUCKET.to_owned()))
}
