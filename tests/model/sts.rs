//! STS: who calls, and credentials for a role.

use std::sync::Arc;
use std::time::Duration;

use super::refusal::{Outcome, Refusal};
use super::world::{Call, Caller, World};
use super::xml::Xml;

pub fn caller_identity(_: &mut World, call: &Call<'_>, xml: &mut Xml) -> Outcome<()> {
    let caller = call.caller.as_ref().ok_or_else(Refusal::access_denied)?;
    xml.leaf("Arn", &caller.arn).leaf("UserId", &caller.user_id).leaf("Account", &caller.account);
    Ok(())
}

/// Credentials of the account that a role belongs to. Its trust policy is not evaluated: what a role requires is an
/// external id, if the test said so.
pub fn assume_role(world: &mut World, call: &Call<'_>, xml: &mut Xml) -> Outcome<()> {
    let caller = call.caller.clone().ok_or_else(Refusal::access_denied)?;
    let (arn, session) = (call.required("RoleArn")?, call.required("RoleSessionName")?);
    let duration = duration(call, &caller)?;
    let denied = || {
        let message = format!("User: {} is not authorized to perform: sts:AssumeRole on resource: {arn}", caller.arn);
        Refusal::new(403, "AccessDenied", message)
    };
    let account = arn.split(':').nth(4).and_then(|id| world.accounts.get(id)).ok_or_else(denied)?;
    let name = arn.rsplit('/').next().unwrap_or_default();
    let role = account.roles.at(&name.to_ascii_lowercase(), call.as_of).filter(|role| role.arn == arn);
    let role = role.ok_or_else(denied)?;
    if world.external_ids.get(arn).is_some_and(|wanted| call.form.text("ExternalId") != wanted) {
        return Err(denied());
    }
    let longest = Duration::from_secs(u64::try_from(role.max_session_seconds).unwrap_or_default());
    if duration > longest {
        let message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
        return Err(Refusal::validation(message));
    }

    let (account, partition) = (account.id.clone(), account.partition.clone());
    let user_id = format!("{}:{session}", role.id);
    let (key, token) = (world.new_id("ASIA", 20), world.new_id("", 120));
    let ends = call.moment.now + world.options.longest_session.map_or(duration, |longest| duration.min(longest));
    let user_arn = format!("arn:{partition}:sts::{account}:assumed-role/{name}/{session}");
    xml.within("AssumedRoleUser", |xml| {
        xml.leaf("AssumedRoleId", &user_id).leaf("Arn", &user_arn);
    });
    xml.within("Credentials", |xml| {
        xml.leaf("AccessKeyId", &key).leaf("SecretAccessKey", "a secret of the model");
        xml.leaf("SessionToken", &token).leaf("Expiration", &world.clock.iso(ends));
    });
    let caller = Caller { account, arn: user_arn, user_id, session: Some((token, ends)) };
    world.keys.insert(key, Arc::new(caller));
    Ok(())
}

fn duration(call: &Call<'_>, caller: &Caller) -> Outcome<Duration> {
    let text = call.form.get("DurationSeconds").unwrap_or("3600");
    let seconds = text.parse().unwrap_or(0_u64);
    if seconds < 900 {
        let constraint = "Member must have value greater than or equal to 900";
        return Err(Refusal::constraint(text, "durationSeconds", constraint));
    }
    if seconds > 43200 {
        let constraint = "Member must have value less than or equal to 43200";
        return Err(Refusal::constraint(text, "durationSeconds", constraint));
    }
    if caller.session.is_some() && seconds > 3600 {
        return Err(Refusal::validation(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
        ));
    }
    Ok(Duration::from_secs(seconds))
}
