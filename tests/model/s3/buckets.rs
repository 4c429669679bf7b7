//! Buckets: themselves, their tags, their versioning.

use super::super::refusal::{Outcome, Refusal};
use super::super::request::Answer;
use super::super::resources::{Bucket, Tags, Versioning};
use super::super::world::{Call, World};
use super::super::xml::{Xml, elements, text};
use super::{body_text, change, malformed_xml, owned, xml_answer};

pub fn create(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    let account = call.caller.as_ref().ok_or_else(Refusal::access_denied)?.account.clone();
    check_name(call.bucket)?;
    let region = region(call)?;
    if let Some(bucket) = world.buckets.get(call.bucket) {
        return again(bucket, &account, call.region);
    }
    let quota = world.account(&account).quotas.buckets;
    if world.buckets.iter().filter(|(_, bucket)| bucket.owner == account).count() >= quota {
        let message = "You have attempted to create more buckets than allowed";
        return Err(Refusal::new(400, "TooManyBuckets", message));
    }
    let bucket = Bucket::new(call.bucket, &account, &region);
    world.buckets.put(call.bucket, bucket, call.moment);
    Ok(Answer::new(200, "").with("location", format!("/{}", call.bucket)))
}

/// The name is taken. us-east-1 alone says yes to who owns it already.
fn again(bucket: &Bucket, account: &str, region: &str) -> Outcome<Answer> {
    if bucket.owner != account {
        let message = "The requested bucket name is not available. The bucket namespace is shared by all users of the \
                       system. Please select a different name and try again.";
        return Err(Refusal::new(409, "BucketAlreadyExists", message));
    }
    if region == "us-east-1" && bucket.region == "us-east-1" {
        return Ok(Answer::new(200, "").with("location", format!("/{}", bucket.name)));
    }
    let message = "Your previous request to create the named bucket succeeded and you already own it.";
    Err(Refusal::new(409, "BucketAlreadyOwnedByYou", message))
}

/// The region of a new bucket: that of the endpoint, which the constraint has to name, except in us-east-1.
fn region(call: &Call<'_>) -> Outcome<String> {
    let endpoint = call.region;
    let constraint = text(body_text(call)?, "LocationConstraint").filter(|constraint| !constraint.is_empty());
    match constraint.as_deref() {
        None if endpoint == "us-east-1" => Ok(endpoint.to_owned()),
        Some("us-east-1") => {
            let message = "The specified location-constraint is not valid";
            Err(Refusal::new(400, "InvalidLocationConstraint", message))
        }
        Some(constraint) if constraint == endpoint || endpoint == "us-east-1" => Ok(constraint.to_owned()),
        other => {
            let message = format!(
                "The {} location constraint is incompatible for the region specific endpoint this request was sent to.",
                other.unwrap_or("unspecified")
            );
            Err(Refusal::new(400, "IllegalLocationConstraintException", message))
        }
    }
}

fn check_name(name: &str) -> Outcome<()> {
    let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bounded = (3..=63).contains(&name.len()) && ends(name.bytes().next()) && ends(name.bytes().last());
    if bounded && name.bytes().all(fine) && !name.contains("..") {
        return Ok(());
    }
    Err(Refusal::new(400, "InvalidBucketName", "The specified bucket is not valid."))
}

pub fn delete(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    owned(world, call)?;
    let prefix = format!("{}/", call.bucket);
    if world.objects.after(&prefix, call.as_of).next().is_some_and(|(key, _)| key.starts_with(&prefix)) {
        return Err(Refusal::new(409, "BucketNotEmpty", "The bucket you tried to delete is not empty"));
    }
    world.buckets.remove(call.bucket, call.moment);
    Ok(Answer::new(204, ""))
}

pub fn head(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    let bucket = owned(world, call)?;
    Ok(Answer::new(200, "").with("x-amz-bucket-region", &bucket.region))
}

pub fn location(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    let region = owned(world, call)?.region.clone();
    Ok(xml_answer("LocationConstraint", |xml| {
        if region != "us-east-1" {
            xml.text(&region);
        }
    }))
}

pub fn list(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    let caller = call.caller.as_ref().ok_or_else(Refusal::access_denied)?;
    let own = world.buckets.after("", call.as_of).filter(|(_, bucket)| bucket.owner == caller.account);
    Ok(xml_answer("ListAllMyBucketsResult", |xml| {
        xml.within("Buckets", |xml| {
            for (name, bucket) in own {
                xml.within("Bucket", |xml| {
                    xml.leaf("Name", name).leaf("BucketRegion", &bucket.region);
                });
            }
        });
    }))
}

pub fn get_tagging(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    let bucket = owned(world, call)?;
    let missing = || Refusal::new(404, "NoSuchTagSet", "The TagSet does not exist");
    let tags = bucket.tags.as_ref().ok_or_else(missing)?;
    Ok(xml_answer("Tagging", |xml| write_tags(xml, tags)))
}

pub fn put_tagging(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    let tags = read_tags(body_text(call)?)?;
    change(world, call, |bucket| bucket.tags = Some(tags)).map(no_content)
}

pub fn delete_tagging(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    change(world, call, |bucket| bucket.tags = None).map(no_content)
}

pub fn get_versioning(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    let versioning = owned(world, call)?.versioning;
    Ok(xml_answer("VersioningConfiguration", |xml| {
        if let Some(versioning) = versioning {
            xml.leaf("Status", if versioning == Versioning::Enabled { "Enabled" } else { "Suspended" });
        }
    }))
}

pub fn put_versioning(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    let status = text(body_text(call)?, "Status");
    let versioning = match status.as_deref() {
        Some("Enabled") => Versioning::Enabled,
        Some("Suspended") => Versioning::Suspended,
        _ => return Err(malformed_xml()),
    };
    change(world, call, |bucket| bucket.versioning = Some(versioning))
}

pub fn write_tags(xml: &mut Xml, tags: &Tags) {
    xml.within("TagSet", |xml| {
        for (key, value) in tags {
            xml.within("Tag", |xml| {
                xml.leaf("Key", key).leaf("Value", value);
            });
        }
    });
}

fn read_tags(xml: &str) -> Outcome<Tags> {
    let mut tags = Tags::new();
    for tag in elements(xml, "Tag") {
        let key = text(tag, "Key").ok_or_else(malformed_xml)?.into_owned();
        let value = text(tag, "Value").unwrap_or_default().into_owned();
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(Refusal::new(400, "InvalidTag", "System tags cannot be added/updated by requester"));
        }
        if tags.insert(key, value).is_some() {
            return Err(Refusal::new(400, "InvalidTag", "Cannot provide multiple Tags with the same key"));
        }
    }
    if tags.len() > 50 {
        return Err(Refusal::new(400, "BadRequest", "Bucket tag count cannot be greater than 50"));
    }
    Ok(tags)
}

fn no_content(answer: Answer) -> Answer {
    Answer { status: 204, ..answer }
}
