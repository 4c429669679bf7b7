//! Someone else in the account, who alters what is the cluster's.

use crate::model::{ACCOUNT, Document, Model, PublicAccessBlock, Visible};

use super::seeds::Dice;
use super::wishes::{BUCKET, MARK, provider_arn};

/// What the stranger may do.
#[derive(Debug, Clone, Copy)]
pub struct Leave {
    /// Touch the keys. Before the operator has seen them published, a strange document is not overwritten.
    pub keys: bool,
    /// Take our mark away, of the bucket or the provider. What was never seen to be right is nobody's then.
    pub marks: bool,
}

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}"#;
const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
const OPEN: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::prod-eu-oidc/*"}]}"#;

/// Alters something of the cluster's that Rolecall puts right again; what, in words.
pub fn alter(model: &Model, dice: &mut Dice, leave: Leave) -> String {
    match dice.below(10) {
        0..5 => alter_role(model, dice),
        5..7 => alter_provider(model, dice, leave),
        7 => alter_document(model, dice, leave),
        _ => alter_bucket(model, dice, leave),
    }
}

fn alter_role(model: &Model, dice: &mut Dice) -> String {
    let ours: Vec<_> = model.roles(ACCOUNT).into_iter().filter(|role| role.tags.contains_key(MARK)).collect();
    let Some(role) = dice.one_of(&ours) else { return "there is no role".to_owned() };
    let name = role.name.clone();
    let what = dice.below(8);
    if what == 0 {
        model.delete_role(ACCOUNT, &name, Visible::Eventually);
        return format!("{name} deleted");
    }
    model.alter_role(ACCOUNT, &name, Visible::Eventually, |role| match what {
        1 => role.description = Some("mine".to_owned()),
        2 => role.max_session_seconds = 7200,
        3 => role.trust = Document::new(TRUST),
        4 => drop(role.inline.remove(&name)),
        5 if role.boundary.is_some() => role.boundary = None,
        6 => drop(role.tags.insert("Name".to_owned(), "mine".to_owned())),
        _ => drop(role.inline.insert(name.clone(), Document::new(POLICY))),
    });
    format!("{name} altered ({what})")
}

fn alter_provider(model: &Model, dice: &mut Dice, leave: Leave) -> String {
    let (arn, what) = (provider_arn(), dice.below(4));
    if what == 0 {
        return format!("provider deleted ({})", model.delete_provider(ACCOUNT, &arn, Visible::Eventually));
    }
    let there = model.alter_provider(ACCOUNT, &arn, Visible::Eventually, |provider| match what {
        1 => provider.audiences.push("mine".to_owned()),
        2 if leave.marks => drop(provider.tags.remove(MARK)),
        _ => drop(provider.audiences.pop()),
    });
    format!("provider altered ({what}, {there})")
}

fn alter_document(model: &Model, dice: &mut Dice, leave: Leave) -> String {
    let key = if leave.keys && dice.percent(50) { "keys.json" } else { ".well-known/openid-configuration" };
    if model.object(BUCKET, key).is_none() {
        return format!("there is no {key}");
    }
    // S3 shows objects as they were last written.
    if dice.percent(50) {
        model.delete_object(BUCKET, key, Visible::AtOnce);
        return format!("{key} deleted");
    }
    model.put_object(BUCKET, key, r#"{"keys":[]}"#, "application/json", Visible::AtOnce);
    format!("{key} altered")
}

fn alter_bucket(model: &Model, dice: &mut Dice, leave: Leave) -> String {
    let what = dice.below(5);
    let there = model.alter_bucket(BUCKET, Visible::Eventually, |bucket| match (what, &mut bucket.tags) {
        (0, _) => bucket.policy = None,
        (1, _) => bucket.block = Some(PublicAccessBlock::all(true)),
        (2, Some(tags)) if leave.marks => drop(tags.remove(MARK)),
        (3, Some(tags)) => drop(tags.remove("Name")),
        _ => bucket.policy = Some(OPEN.into()),
    });
    format!("bucket altered ({what}, {there})")
}
