//! Calls that moto does not have or gets wrong, made right with its other calls. The caller holds moto's lock, so
//! nobody sees the moments in between.

use axum::body::Bytes;
use axum::http::{HeaderValue, Method, Response, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::faults::answer;
use super::{Asked, send};

type Answer = Result<Response<Bytes>, reqwest::Error>;
type Fields = Vec<(String, String)>;

/// Passes a request on to moto, by a detour if it needs one.
pub(super) async fn forward(moto: &str, asked: &Asked) -> Answer {
    match asked.op.as_str() {
        "iam:AddClientIDToOpenIDConnectProvider" | "iam:RemoveClientIDFromOpenIDConnectProvider" => {
            change_audiences(moto, asked).await
        }
        "iam:UpdateRole" => update_role(moto, asked).await,
        _ => send(moto, asked).await,
    }
}

/// moto has no call to change audiences: the provider is deleted and made again with the others.
async fn change_audiences(moto: &str, asked: &Asked) -> Answer {
    let arn = || vec![("OpenIDConnectProviderArn".to_owned(), asked.param("OpenIDConnectProviderArn").to_owned())];
    let found = call(moto, asked, "GetOpenIDConnectProvider", arn()).await?;
    if !found.status().is_success() {
        return Ok(found); // NoSuchEntity, in moto's words
    }
    let xml = String::from_utf8_lossy(found.body());
    let mut audiences = members(&xml, "ClientIDList");
    audiences.retain(|audience| audience != asked.param("ClientID"));
    if asked.op.starts_with("iam:Add") {
        audiences.push(asked.param("ClientID").to_owned());
    }

    let mut fields = vec![("Url".to_owned(), format!("https://{}", inner(&xml, "Url").unwrap_or_default()))];
    fields.extend(list("ClientIDList", audiences));
    fields.extend(list("ThumbprintList", members(&xml, "ThumbprintList")));
    for (tag, n) in members(&xml, "Tags").iter().zip(1..) {
        for part in ["Key", "Value"] {
            fields.push((format!("Tags.member.{n}.{part}"), unescape(inner(tag, part).unwrap_or_default())));
        }
    }
    call(moto, asked, "DeleteOpenIDConnectProvider", arn()).await?;
    let made = call(moto, asked, "CreateOpenIDConnectProvider", fields).await?;
    if !made.status().is_success() {
        return Ok(made);
    }
    let name = asked.op.trim_start_matches("iam:");
    let body = format!(
        "<{name}Response xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">\
         <ResponseMetadata><RequestId>x</RequestId></ResponseMetadata></{name}Response>"
    );
    Ok(answer(200, "text/xml", body))
}

/// moto takes what is left out for empty, AWS leaves it as it is.
async fn update_role(moto: &str, asked: &Asked) -> Answer {
    let role = ("RoleName".to_owned(), asked.param("RoleName").to_owned());
    let found = call(moto, asked, "GetRole", vec![role.clone()]).await?;
    if !found.status().is_success() {
        return Ok(found);
    }
    let xml = String::from_utf8_lossy(found.body());
    let mut fields = vec![role];
    for name in ["Description", "MaxSessionDuration"] {
        let given = asked.params.get(name).cloned();
        let value = given.or_else(|| inner(&xml, name).map(unescape));
        fields.extend(value.map(|value| (name.to_owned(), value)));
    }
    call(moto, asked, "UpdateRole", fields).await
}

/// A call of our own, in the name of whoever asked.
async fn call(moto: &str, asked: &Asked, action: &str, fields: Fields) -> Answer {
    let fields = fields.iter().map(|(name, value)| format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
    let form = format!("Action={action}&Version=2010-05-08") + &fields.collect::<String>();
    let mut request = Asked { method: Method::POST, body: form.into(), ..asked.clone() };
    let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers.insert(header::CONTENT_TYPE, content_type);
    send(moto, &request).await
}

fn list(name: &str, values: Vec<String>) -> Fields {
    values.into_iter().zip(1..).map(|(value, n)| (format!("{name}.member.{n}"), value)).collect()
}

/// The text between `<name>` and `</name>`. Enough for moto's answers, which have no attributes here.
fn inner<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

fn members(xml: &str, list: &str) -> Vec<String> {
    let parts = inner(xml, list).unwrap_or_default().split("<member>").skip(1);
    parts.filter_map(|part| part.split_once("</member>")).map(|(text, _)| text.to_owned()).collect()
}

fn unescape(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
    text.replace("&#10;", "\n").replace("&apos;", "'").replace("&amp;", "&")
}
