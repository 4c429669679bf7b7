//! Objects and their versions.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::super::history::AsOf;
use super::super::refusal::{Outcome, Refusal};
use super::super::request::{Answer, Form};
use super::super::resources::{Content, Object, Tags, Version, Versioning};
use super::super::world::{Call, ConditionalWrites, World};
use super::super::xml::{elements, text};
use super::access::public_may;
use super::buckets::write_tags;
use super::{body_text, check_expected_owner, existing, not_implemented, owned, xml_answer};

/// How many bytes the names and values of an object's user metadata may have together.
const METADATA: usize = 2048;

/// The key of objects in the model's table.
pub fn row(bucket: &str, key: &str) -> String {
    format!("{bucket}/{key}")
}

pub fn put(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    let versioning = owned(world, call)?.versioning;
    let row = row(call.bucket, call.key);
    let there = world.objects.get(&row).and_then(|object| object.latest()).map(|(_, content)| content.etag.as_str());
    check_conditions(call, there, world.options.conditional_writes)?;
    let content = content(call)?;
    let etag = content.etag.clone();
    let id = add_version(world, call, call.key, versioning, Some(content));
    let answer = Answer::new(200, "").with("etag", etag);
    Ok(if versioning.is_some() { answer.with("x-amz-version-id", id) } else { answer })
}

/// Holds a write's conditions against the ETag of what is there (S3 User Guide, "How to prevent object overwrites with
/// conditional writes").
fn check_conditions(call: &Call<'_>, there: Option<&str>, writes: ConditionalWrites) -> Outcome<()> {
    let (wanted, unwanted) = (call.request.header("if-match"), call.request.header("if-none-match"));
    let unconditional = wanted.is_empty() && unwanted.is_empty();
    if unconditional || writes == ConditionalWrites::Ignored {
        return Ok(());
    }
    // "Expects the '*' (asterisk) character" (S3 API Reference, PutObject).
    if writes == ConditionalWrites::Refused || !["", "*"].contains(&unwanted) {
        return not_implemented();
    }
    let failed = || {
        let message = "At least one of the pre-conditions you specified did not hold";
        Refusal::new(412, "PreconditionFailed", message)
    };
    match there {
        Some(_) if unwanted == "*" => Err(failed()),
        Some(etag) if !wanted.is_empty() && wanted.trim_matches('"') != etag.trim_matches('"') => Err(failed()),
        // "If there's no current object version with the same name, or if the current object version is a delete marker,
        // the operation fails with a 404 Not Found error."
        None if !wanted.is_empty() => Err(no_such_key()),
        _ => Ok(()),
    }
}

/// Puts a version on top of a key's others; a version called `null` takes the place of the last such.
fn add_version(
    world: &mut World,
    call: &Call<'_>,
    key: &str,
    versioning: Option<Versioning>,
    content: Option<Content>,
) -> String {
    let enabled = versioning == Some(Versioning::Enabled);
    let id = if enabled { world.new_id("", 32) } else { "null".to_owned() };
    let row = row(call.bucket, key);
    let mut object = world.objects.get(&row).map(|object| Object::clone(object)).unwrap_or_default();
    object.versions.retain(|version| enabled || version.id != "null");
    let content = content.map(Arc::new);
    object.versions.push(Version { id: id.clone(), modified: call.moment.now, content });
    world.objects.put(&row, object, call.moment);
    id
}

fn content(call: &Call<'_>) -> Outcome<Content> {
    let header = |name: &str| Some(call.request.header(name)).filter(|value| !value.is_empty()).map(str::to_owned);
    let body = call.request.content();
    let metadata = call.request.headers_after("x-amz-meta-");
    if metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > METADATA {
        let message = "Your metadata headers exceed the maximum allowed metadata size";
        return Err(Refusal::new(400, "MetadataTooLarge", message));
    }
    Ok(Content {
        etag: etag(&body),
        body,
        content_type: header("content-type").unwrap_or_else(|| "binary/octet-stream".to_owned()),
        cache_control: header("cache-control"),
        metadata,
        tags: tags(call.request.header("x-amz-tagging"))?,
    })
}

/// Another for other bytes. S3's own is a MD5 sum, and promises no more.
pub fn etag(body: &[u8]) -> String {
    let sum = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, body).hash(&mut hasher);
        hasher.finish()
    };
    format!("\"{:016x}{:016x}\"", sum(0), sum(1))
}

fn tags(header: &str) -> Outcome<Tags> {
    let mut tags = Tags::new();
    for pair in header.split('&').filter(|pair| !pair.is_empty()) {
        let form = Form::parse(pair);
        let (key, value) = form.first().unwrap_or_default();
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Refusal::new(400, "InvalidArgument", "Cannot provide multiple Tags with the same key"));
        }
    }
    if tags.len() > 10 {
        return Err(Refusal::new(400, "BadRequest", "Object tags cannot be greater than 10"));
    }
    Ok(tags)
}

pub fn get(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    let (version, content) = readable(world, call)?;
    let modified = world.clock.http(version.modified);
    let mut answer = Answer::new(200, content.body.clone())
        .with("content-length", content.body.len().to_string())
        .with("content-type", &content.content_type)
        .with("etag", &content.etag)
        .with("last-modified", modified);
    if let Some(cache) = &content.cache_control {
        answer = answer.with("cache-control", cache);
    }
    for (name, value) in &content.metadata {
        answer = answer.with(format!("x-amz-meta-{name}"), value);
    }
    if !content.tags.is_empty() {
        answer = answer.with("x-amz-tagging-count", content.tags.len().to_string());
    }
    Ok(if version.id == "null" { answer } else { answer.with("x-amz-version-id", version.id) })
}

/// The same without the body, but with its length.
pub fn head(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    get(world, call).map(|answer| Answer { body: "".into(), ..answer })
}

pub fn get_tagging(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    owned(world, call)?;
    let (_, content) = readable(world, call)?;
    Ok(xml_answer("Tagging", |xml| write_tags(xml, &content.tags)))
}

/// The version that a call reads, if the caller may.
fn readable(world: &World, call: &Call<'_>) -> Outcome<(Version, Arc<Content>)> {
    let anonymous = call.caller.is_none();
    if anonymous {
        let bucket = existing(world, call, call.as_of)?;
        check_expected_owner(call, bucket)?;
        let resource = format!("arn:aws:s3:::{}/{}", call.bucket, call.key);
        if !public_may(bucket, "s3:GetObject", &resource) {
            return Err(Refusal::access_denied());
        }
    } else {
        owned(world, call)?;
    }
    let object = world.objects.at(&row(call.bucket, call.key), call.as_of);
    let found = object.and_then(|object| match call.form.get("versionId") {
        None => object.latest().map(|(version, content)| (version.clone(), content.clone())),
        Some(id) => {
            let version = object.versions.iter().find(|version| version.id == id)?;
            Some((version.clone(), version.content.clone()?))
        }
    });
    found.ok_or_else(|| {
        // Who may not list the bucket is not told what is missing in it.
        let hidden = anonymous && !may_list(world, call);
        if hidden { Refusal::access_denied() } else { no_such_key() }
    })
}

fn may_list(world: &World, call: &Call<'_>) -> bool {
    let bucket = world.buckets.at(call.bucket, AsOf::Now);
    bucket.is_some_and(|bucket| public_may(bucket, "s3:ListBucket", &format!("arn:aws:s3:::{}", call.bucket)))
}

fn no_such_key() -> Refusal {
    Refusal::new(404, "NoSuchKey", "The specified key does not exist.")
}

pub fn delete(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    let versioning = owned(world, call)?.versioning;
    let version = call.form.get("versionId");
    let deleted = delete_one(world, call, call.key, version, versioning);
    let answer = Answer::new(204, "");
    Ok(match (deleted, version) {
        (Some(marker), _) => answer.with("x-amz-delete-marker", "true").with("x-amz-version-id", marker),
        (None, Some(version)) => answer.with("x-amz-version-id", version),
        (None, None) => answer,
    })
}

/// Deletes a version, or the object; the id of the delete marker if that is what came of it.
fn delete_one(
    world: &mut World,
    call: &Call<'_>,
    key: &str,
    version: Option<&str>,
    versioning: Option<Versioning>,
) -> Option<String> {
    let row = row(call.bucket, key);
    if let Some(version) = version {
        let left = world.objects.change(&row, call.moment, |object| {
            object.versions.retain(|known| known.id != version);
            object.versions.len()
        });
        if left == Some(0) {
            world.objects.remove(&row, call.moment);
        }
        return None;
    }
    if versioning.is_some() {
        return Some(add_version(world, call, key, versioning, None));
    }
    world.objects.remove(&row, call.moment);
    None
}

/// Up to a thousand objects at once.
pub fn delete_many(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    let versioning = owned(world, call)?.versioning;
    let body = String::from_utf8_lossy(&call.request.content()).into_owned();
    let objects: Vec<_> = elements(&body, "Object").into_iter().filter_map(|o| text(o, "Key").zip(Some(o))).collect();
    if objects.is_empty() || objects.len() > 1000 {
        body_text(call)?;
        return Err(super::malformed_xml());
    }
    let quiet = text(&body, "Quiet").is_some_and(|quiet| quiet == "true");
    let mut deleted = Vec::new();
    for (key, object) in objects {
        let version = text(object, "VersionId");
        delete_one(world, call, &key, version.as_deref(), versioning);
        deleted.push((key, version));
    }
    Ok(xml_answer("DeleteResult", |xml| {
        for (key, version) in deleted.iter().filter(|_| !quiet) {
            xml.within("Deleted", |xml| {
                xml.leaf("Key", key).maybe("VersionId", version.as_deref());
            });
        }
    }))
}
