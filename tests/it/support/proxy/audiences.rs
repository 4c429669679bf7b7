//! `AddClientIDToOpenIDConnectProvider` and `RemoveClientIDFromOpenIDConnectProvider`, which moto
//! does not have: played by deleting the provider and making it again with the other audiences. The
//! caller holds moto's lock, so nobody sees the moment in between.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Response, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::faults::answer;
use super::send;

const ADD: &str = "iam:AddClientIDToOpenIDConnectProvider";
const REMOVE: &str = "iam:RemoveClientIDFromOpenIDConnectProvider";

pub(super) fn is_missing_in_moto(op: &str) -> bool {
    op == ADD || op == REMOVE
}

pub(super) async fn play(
    moto: &str,
    op: &str,
    params: &BTreeMap<String, String>,
    headers: &HeaderMap,
) -> Result<Response<Bytes>, reqwest::Error> {
    let param = |name: &str| params.get(name).cloned().unwrap_or_default();
    let arn = param("OpenIDConnectProviderArn");
    let call = async |action: &str, fields: Vec<(String, String)>| {
        let mut form = format!("Action={action}&Version=2010-05-08");
        for (name, value) in &fields {
            form += &format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
        }
        let mut headers = headers.clone();
        headers.insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        send(moto, &Method::POST, "/", &headers, form.into()).await
    };
    let by_arn = || vec![("OpenIDConnectProviderArn".to_owned(), arn.clone())];

    let found = call("GetOpenIDConnectProvider", by_arn()).await?;
    if !found.status().is_success() {
        return Ok(found); // NoSuchEntity, in moto's words
    }
    let xml = String::from_utf8_lossy(found.body()).into_owned();
    let mut audiences = members(&xml, "ClientIDList");
    audiences.retain(|audience| *audience != param("ClientID"));
    if op == ADD {
        audiences.push(param("ClientID"));
    }

    let mut fields = vec![(
        "Url".to_owned(),
        format!("https://{}", inner(&xml, "Url").unwrap_or_default()),
    )];
    let list = |name: &str, values: Vec<String>| {
        let name = name.to_owned();
        values
            .into_iter()
            .zip(1..)
            .map(move |(value, n)| (format!("{name}.member.{n}"), value))
    };
    fields.extend(list("ClientIDList", audiences));
    fields.extend(list("ThumbprintList", members(&xml, "ThumbprintList")));
    for (tag, n) in members(&xml, "Tags").into_iter().zip(1..) {
        for part in ["Key", "Value"] {
            fields.push((
                format!("Tags.member.{n}.{part}"),
                inner(&tag, part).unwrap_or_default().to_owned(),
            ));
        }
    }
    call("DeleteOpenIDConnectProvider", by_arn()).await?;
    let made = call("CreateOpenIDConnectProvider", fields).await?;
    if !made.status().is_success() {
        return Ok(made);
    }
    let name = op.trim_start_matches("iam:");
    let body = format!(
        "<{name}Response xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">\
         <ResponseMetadata><RequestId>x</RequestId></ResponseMetadata></{name}Response>"
    );
    Ok(answer(200, "text/xml", body))
}

/// The text between `<name>` and `</name>`. Enough for moto's answers, which have no attributes
/// here.
fn inner<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

fn members(xml: &str, list: &str) -> Vec<String> {
    let list = inner(xml, list).unwrap_or_default();
    let unescape = |text: &str| {
        text.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&#39;", "'")
            .replace("&amp;", "&")
    };
    let members = list
        .split("<member>")
        .skip(1)
        .filter_map(|part| part.split_once("</member>"));
    members.map(|(text, _)| unescape(text)).collect()
}
