//! Lists in pages.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::super::refusal::{Outcome, Refusal};
use super::super::world::Call;
use super::super::xml::Xml;

/// One page of a list: where it begins, and what it holds at most.
#[derive(Debug)]
pub struct Page {
    /// The last key of the page before; empty for the first.
    pub after: String,
    pub limit: usize,
}

impl Page {
    /// The page that a call asks for.
    pub fn of(call: &Call<'_>) -> Outcome<Self> {
        let asked = call.form.get("MaxItems").map(|text| text.parse::<usize>().unwrap_or(0));
        if asked == Some(0) {
            let constraint = "Member must have value greater than or equal to 1";
            return Err(Refusal::constraint("0", "maxItems", constraint));
        }
        if let Some(asked) = asked.filter(|asked| *asked > 1000) {
            let constraint = "Member must have value less than or equal to 1000";
            return Err(Refusal::constraint(&asked.to_string(), "maxItems", constraint));
        }
        let limit = asked.unwrap_or(100).min(call.page_size.unwrap_or(usize::MAX)).max(1);
        let after = match call.form.get("Marker") {
            None => String::new(),
            Some(marker) => {
                let bytes = BASE64_URL_SAFE_NO_PAD.decode(marker).ok();
                let key = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
                key.ok_or_else(|| Refusal::validation("Invalid Marker."))?
            }
        };
        Ok(Page { after, limit })
    }

    /// The end of the answer: whether more is to come, and the marker for it.
    pub fn finish(xml: &mut Xml, last: Option<&str>) {
        xml.value("IsTruncated", last.is_some());
        xml.maybe("Marker", last.map(|key| BASE64_URL_SAFE_NO_PAD.encode(key)).as_deref());
    }

    /// Takes at most a page's worth of items; with more to come, the key of the last.
    pub fn take<'a, T>(&self, items: impl Iterator<Item = (&'a str, T)>) -> (Vec<T>, Option<String>) {
        let mut taken = Vec::new();
        let mut last = "";
        for (key, item) in items {
            if taken.len() == self.limit {
                return (taken, Some(last.to_owned()));
            }
            taken.push(item);
            last = key;
        }
        (taken, None)
    }
}
