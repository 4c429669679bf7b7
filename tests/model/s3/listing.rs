//! What is in a bucket.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::super::refusal::{Outcome, Refusal};
use super::super::request::Answer;
use super::super::resources::Object;
use super::super::world::{Call, World};
use super::objects::row;
use super::{owned, xml_answer};

/// The latest versions, in pages. Delimiters are not known here.
pub fn objects(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    owned(world, call)?;
    let token = call.form.get("continuation-token").map(decode).transpose()?;
    let after = token.unwrap_or_else(|| call.form.text("start-after").to_owned());
    let limit = limit(call);
    let shown = |key: &str| if call.form.text("encoding-type") == "url" { encoded(key) } else { key.to_owned() };

    let mut found = in_bucket(world, call, &after).filter(|(_, object)| object.latest().is_some());
    let page: Vec<_> = found.by_ref().take(limit).collect();
    let more = if limit == 0 { None } else { found.next().and_then(|_| page.last().map(|(key, _)| *key)) };
    Ok(xml_answer("ListBucketResult", |xml| {
        xml.leaf("Name", call.bucket).leaf("Prefix", call.form.text("prefix")).value("MaxKeys", limit);
        xml.value("KeyCount", page.len()).value("IsTruncated", more.is_some());
        xml.maybe("NextContinuationToken", more.map(|key| BASE64_URL_SAFE_NO_PAD.encode(key)).as_deref());
        for (key, object) in &page {
            let Some((version, content)) = object.latest() else { continue };
            xml.within("Contents", |xml| {
                xml.leaf("Key", &shown(key)).leaf("LastModified", &world.clock.iso(version.modified));
                xml.leaf("ETag", &content.etag).value("Size", content.body.len()).leaf("StorageClass", "STANDARD");
            });
        }
    }))
}

/// All versions and delete markers, the latest of a key first, in pages.
pub fn versions(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    owned(world, call)?;
    let (key_marker, id_marker) = (call.form.text("key-marker"), call.form.get("version-id-marker"));
    let rows = in_bucket(world, call, "").flat_map(|(key, object)| {
        let latest_first = object.versions.iter().rev().enumerate();
        latest_first.map(move |(age, version)| (key, age == 0, version))
    });
    // What follows the marker: the rest of its key's versions, then the keys behind it.
    let mut passed_id = id_marker.is_none();
    let mut rest = rows.skip_while(move |(key, _, version)| {
        if *key != key_marker {
            return *key < key_marker;
        }
        let skip = id_marker.is_none() || !passed_id;
        passed_id |= id_marker == Some(version.id.as_str());
        skip
    });
    let limit = limit(call).max(1);
    let page: Vec<_> = rest.by_ref().take(limit).collect();
    let more = rest.next().and_then(|_| page.last());
    Ok(xml_answer("ListVersionsResult", |xml| {
        xml.leaf("Name", call.bucket).leaf("Prefix", call.form.text("prefix")).value("MaxKeys", limit);
        xml.value("IsTruncated", more.is_some());
        xml.maybe("NextKeyMarker", more.map(|(key, ..)| *key));
        xml.maybe("NextVersionIdMarker", more.map(|(.., version)| version.id.as_str()));
        for (key, latest, version) in &page {
            let kind = if version.content.is_some() { "Version" } else { "DeleteMarker" };
            xml.within(kind, |xml| {
                xml.leaf("Key", key).leaf("VersionId", &version.id).value("IsLatest", latest);
                xml.leaf("LastModified", &world.clock.iso(version.modified));
                if let Some(content) = &version.content {
                    xml.leaf("ETag", &content.etag).value("Size", content.body.len());
                }
            });
        }
    }))
}

/// The objects of a call's bucket with its prefix, after a key.
fn in_bucket<'w>(
    world: &'w World,
    call: &Call<'_>,
    after: &str,
) -> impl Iterator<Item = (&'w str, &'w Arc<Object>)> + use<'w> {
    let bucket = row(call.bucket, "");
    let prefix = row(call.bucket, call.form.text("prefix"));
    let from = row(call.bucket, after);
    // Straight to the prefix, unless the marker is further on. A key may be the prefix itself.
    let start = if from >= prefix { from } else { prefix[..prefix.len() - 1].to_owned() };
    let rows = world.objects.after(&start, call.as_of);
    let rows = rows.skip_while({
        let prefix = prefix.clone();
        move |(key, _)| *key < prefix.as_str()
    });
    rows.take_while(move |(key, _)| key.starts_with(&prefix)).map(move |(key, object)| (&key[bucket.len()..], object))
}

fn limit(call: &Call<'_>) -> usize {
    let asked = call.form.get("max-keys").and_then(|text| text.parse().ok()).unwrap_or(1000);
    asked.min(1000).min(call.page_size.unwrap_or(usize::MAX))
}

fn decode(token: &str) -> Outcome<String> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok();
    let key = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    key.ok_or_else(|| Refusal::new(400, "InvalidArgument", "The continuation token provided is incorrect"))
}

fn encoded(key: &str) -> String {
    utf8_percent_encode(key, NON_ALPHANUMERIC).to_string()
}
