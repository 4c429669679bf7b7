//! S3 as the REST API has it.

pub mod access;
pub mod buckets;
pub mod listing;
pub mod objects;

use std::sync::Arc;

use super::history::AsOf;
use super::refusal::{Outcome, Refusal};
use super::request::{Answer, Service};
use super::resources::Bucket;
use super::world::{Call, World};
use super::xml::Xml;

/// The bucket of a call, as a read sees it; its owner must be the caller.
fn owned<'w>(world: &'w World, call: &Call<'_>) -> Outcome<&'w Arc<Bucket>> {
    let bucket = existing(world, call, call.as_of)?;
    check_expected_owner(call, bucket)?;
    if call.account() != bucket.owner {
        return Err(Refusal::access_denied());
    }
    if call.region != bucket.region {
        return Err(Refusal::new(
            301,
            "PermanentRedirect",
            "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all \
             future requests to this endpoint.",
        ));
    }
    Ok(bucket)
}

/// Alters the bucket of a call.
fn change(world: &mut World, call: &Call<'_>, alter: impl FnOnce(&mut Bucket)) -> Outcome<Answer> {
    owned(world, call)?;
    world.buckets.change(call.bucket, call.moment, alter);
    Ok(Answer::new(200, ""))
}

fn existing<'w>(world: &'w World, call: &Call<'_>, as_of: AsOf) -> Outcome<&'w Arc<Bucket>> {
    world
        .buckets
        .at(call.bucket, as_of)
        .ok_or_else(|| Refusal::new(404, "NoSuchBucket", "The specified bucket does not exist"))
}

fn check_expected_owner(call: &Call<'_>, bucket: &Bucket) -> Outcome<()> {
    let expected = call.request.header("x-amz-expected-bucket-owner");
    if expected.is_empty() || expected == bucket.owner { Ok(()) } else { Err(Refusal::access_denied()) }
}

/// An XML answer with a root element in S3's namespace.
fn xml_answer(root: &str, fill: impl FnOnce(&mut Xml)) -> Answer {
    let mut xml = Xml("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned());
    xml.0.push_str(&format!("<{root} xmlns=\"{}\">", Service::S3.namespace()));
    fill(&mut xml);
    xml.0.push_str(&format!("</{root}>"));
    Answer::new(200, xml.0).with("content-type", "application/xml")
}

fn body_text<'a>(call: &'a Call<'_>) -> Outcome<&'a str> {
    std::str::from_utf8(&call.request.body).map_err(|_| malformed_xml())
}

fn malformed_xml() -> Refusal {
    let message = "The XML you provided was not well-formed or did not validate against our published schema";
    Refusal::new(400, "MalformedXML", message)
}
