//! XML as the AWS protocols have it: elements without attributes, written and read.

use std::borrow::Cow;
use std::fmt::Display;

/// An XML text in the making.
#[derive(Debug, Default)]
pub struct Xml(pub String);

impl Xml {
    /// `<name>text</name>`, escaped.
    pub fn leaf(&mut self, name: &str, text: &str) -> &mut Self {
        self.open(name);
        escape(&mut self.0, text);
        self.close(name)
    }

    /// A leaf, if there is something to say.
    pub fn maybe(&mut self, name: &str, text: Option<&str>) -> &mut Self {
        if let Some(text) = text {
            self.leaf(name, text);
        }
        self
    }

    /// A leaf for a number or a boolean.
    pub fn value(&mut self, name: &str, value: impl Display) -> &mut Self {
        self.leaf(name, &value.to_string())
    }

    /// An element with others in it.
    pub fn within(&mut self, name: &str, fill: impl FnOnce(&mut Xml)) -> &mut Self {
        self.open(name);
        fill(self);
        self.close(name)
    }

    /// A list as IAM writes it: `<name><member>…</member></name>`.
    pub fn list<I: IntoIterator>(
        &mut self,
        name: &str,
        items: I,
        mut fill: impl FnMut(&mut Xml, I::Item),
    ) -> &mut Self {
        self.within(name, |list| {
            for item in items {
                list.within("member", |member| fill(member, item));
            }
        })
    }

    /// Bare text.
    pub fn text(&mut self, text: &str) {
        escape(&mut self.0, text);
    }

    fn open(&mut self, name: &str) {
        self.0.push('<');
        self.0.push_str(name);
        self.0.push('>');
    }

    fn close(&mut self, name: &str) -> &mut Self {
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
        self
    }
}

fn escape(out: &mut String, text: &str) {
    if !text.contains(['&', '<', '>', '"', '\r', '\n']) {
        out.push_str(text);
        return;
    }
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // A parser would make a line feed of it, and AWS keeps it.
            '\r' => out.push_str("&#xD;"),
            '\n' => out.push_str("&#xA;"),
            _ => out.push(c),
        }
    }
}

/// The insides of all elements of this name, in their order. Elements that contain their like are not for this.
pub fn elements<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (start, end) = (format!("<{name}"), format!("</{name}>"));
    let mut found = Vec::new();
    let mut rest = xml;
    while let Some((_, after)) = rest.split_once(&start) {
        let Some((head, body)) = after.split_once('>') else { break };
        // `<Tag` also begins `<Tagging>`.
        if !(head.is_empty() || head.starts_with([' ', '/', '\n'])) {
            rest = after;
        } else if head.ends_with('/') {
            found.push("");
            rest = body;
        } else {
            let Some((inner, after)) = body.split_once(&end) else { break };
            found.push(inner);
            rest = after;
        }
    }
    found
}

/// The text of the first element of this name.
pub fn text<'a>(xml: &'a str, name: &str) -> Option<Cow<'a, str>> {
    elements(xml, name).first().map(|inner| unescape(inner))
}

fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return text.into();
    }
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    text.replace("&#xD;", "\r").replace("&#xA;", "\n").replace("&#10;", "\n").replace("&amp;", "&").into()
}
