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

/// Some of the regions that an account has to opt into.
const OPT_IN: [&str; 3] = ["af-south-1", "ap-east-1", "me-south-1"];

/// The bucket of a call, as a read sees it; its owner must be the caller.
fn owned<'w>(world: &'w World, call: &Call<'_>) -> Outcome<&'w Arc<Bucket>> {
    let bucket = existing(world, call, call.as_of)?;
    check_region(call, bucket)?;
    check_expected_owner(call, bucket)?;
    if call.account() != bucket.owner {
        return Err(Refusal::access_denied());
    }
    Ok(bucket)
}

/// A region sends calls away for buckets of others, before it looks at who calls. The three ways are those that botocore's
/// `S3RegionRedirector` knows.
fn check_region(call: &Call<'_>, bucket: &Bucket) -> Outcome<()> {
    let (asked, region) = (call.region, &bucket.region);
    if asked == region {
        return Ok(());
    }
    if OPT_IN.contains(&region.as_str()) {
        let message = format!(
            "The {region} location constraint is incompatible for the region specific endpoint this request was sent to."
        );
        return Err(Refusal::new(400, "IllegalLocationConstraintException", message));
    }
    // The endpoint without a region leads to where the bucket is.
    if asked == "us-east-1" {
        let message =
            format!("The authorization header is malformed; the region '{asked}' is wrong; expecting '{region}'");
        return Err(Refusal::new(400, "AuthorizationHeaderMalformed", message));
    }
    let message = "The bucket you are attempting to access must be addressed using the specified endpoint. Please send \
                   all future requests to this endpoint.";
    Err(Refusal::new(301, "PermanentRedirect", message))
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

/// S3's answer to what it has not: a call, or a header.
pub fn not_implemented<T>() -> Outcome<T> {
    let message = "A header you provided implies functionality that is not implemented";
    Err(Refusal::new(501, "NotImplemented", message))
}

fn malformed_xml() -> Refusal {
    let message = "The XML you provided was not well-formed or did not validate against our published schema";
    Refusal::new(400, "MalformedXML", message)
}
