//! A strict reader of the HTML that reports are made of. It knows the few elements and attributes that stand in them, what
//! may stand in what, and takes nothing else: whatever slips into a page is an error here, where a browser would guess.

use std::collections::BTreeSet;

/// An element, with what it holds.
#[derive(Debug, Default)]
pub struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Element>,
    /// Its own text, as a reader sees it.
    pub text: String,
}

impl Element {
    /// All elements of this name, in the order of the page.
    pub fn all<'a>(&'a self, name: &str) -> Vec<&'a Element> {
        let below = self.children.iter().flat_map(|child| child.all(name));
        (self.name == name).then_some(self).into_iter().chain(below).collect()
    }

    /// Its text and that of all below it, one after the other.
    pub fn whole_text(&self) -> String {
        self.children.iter().fold(self.text.clone(), |text, child| text + &child.whole_text())
    }

    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

const PHRASES: &[&str] = &["code", "br", "span"];

/// What may stand in an element; whether text may.
fn holds(name: &str) -> (&'static [&'static str], bool) {
    match name {
        "" => (&["html"], false),
        "html" => (&["head", "body"], false),
        "head" => (&["meta", "title", "style"], false),
        "body" => (&["h1", "h2", "h3", "p", "dl", "ul", "div"], false),
        "dl" => (&["dt", "dd"], false),
        "ul" => (&["li"], false),
        "div" => (&["table"], false),
        "table" => (&["thead", "tbody"], false),
        "thead" | "tbody" => (&["tr"], false),
        "tr" => (&["th", "td"], false),
        "td" => (&["code", "br", "span", "ul"], true),
        "h1" | "h2" | "h3" | "p" | "dt" | "dd" | "li" | "th" => (PHRASES, true),
        "title" | "style" | "code" | "span" => (&[], true),
        "meta" | "br" => (&[], false),
        other => panic!("<{other}> is no element of a report"),
    }
}

fn is_allowed(element: &str, attribute: &str, value: &str) -> bool {
    match (element, attribute) {
        ("html", "lang") => value == "en",
        ("meta", "charset") => value == "utf-8",
        ("meta", "name" | "http-equiv" | "content") | ("td" | "li", "title") => true,
        (_, "class") => ["good", "doubtful", "bad", "quiet", "wide", "more"].contains(&value),
        ("td", "colspan") => value.parse::<usize>().is_ok_and(|count| count > 1),
        _ => false,
    }
}

/// Reads a page, or fails at the first thing that should not be there.
pub fn read(page: &str) -> Element {
    let rest = page.strip_prefix("<!DOCTYPE html>").unwrap_or_else(|| panic!("no doctype: {}", &page[..40]));
    assert!(!page.chars().any(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)), "a control character");
    let mut open = vec![Element::default()];
    let mut rest = rest;
    while let Some(at) = rest.find('<') {
        add_text(open.last_mut().unwrap(), &rest[..at]);
        let (tag, after) = rest[at + 1..].split_once('>').unwrap_or_else(|| panic!("a tag without end: {rest}"));
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            close(&mut open, name);
            continue;
        }
        let element = opened(tag);
        let parent = open.last().unwrap();
        assert!(holds(&parent.name).0.contains(&element.name.as_str()), "<{}> in <{}>", element.name, parent.name);
        let (name, is_void) = (element.name.clone(), ["meta", "br"].contains(&element.name.as_str()));
        open.push(element);
        if is_void {
            close(&mut open, &name);
        }
    }
    assert_eq!((rest, open.len()), ("", 1), "every element is closed, and nothing follows");
    let root = open.remove(0).children.remove(0);
    assert_shape(&root);
    root
}

fn add_text(element: &mut Element, text: &str) {
    assert!(text.is_empty() || holds(&element.name).1, "text in <{}>: {text}", element.name);
    // The style sheet is no text with references in it.
    element.text += &if element.name == "style" { text.to_owned() } else { unescaped(text) };
}

fn close(open: &mut Vec<Element>, name: &str) {
    let element = open.pop().unwrap();
    assert_eq!(element.name, name, "closed in its turn");
    open.last_mut().unwrap_or_else(|| panic!("</{name}> closes nothing")).children.push(element);
}

fn opened(tag: &str) -> Element {
    let name: String = tag.chars().take_while(char::is_ascii_alphanumeric).collect();
    let mut element = Element { name, ..Element::default() };
    let mut rest = &tag[element.name.len()..];
    while !rest.is_empty() {
        let (name, after) =
            rest.strip_prefix(' ').and_then(|rest| rest.split_once("=\"")).unwrap_or_else(|| panic!("<{tag}>"));
        let (value, after) = after.split_once('"').unwrap_or_else(|| panic!("<{tag}>"));
        let value = unescaped(value);
        assert!(is_allowed(&element.name, name, &value), "{name}={value:?} on <{}>", element.name);
        assert!(element.attribute(name).is_none(), "{name} twice on <{tag}>");
        element.attributes.push((name.to_owned(), value));
        rest = after;
    }
    element
}

/// Text with its references resolved; nothing that could be markup is left in it.
fn unescaped(text: &str) -> String {
    assert!(!text.contains(['<', '>', '"']), "unescaped: {text}");
    let mut parts = text.split('&');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (reference, rest) = part.split_once(';').unwrap_or_else(|| panic!("a bare &: {text}"));
        out += match reference {
            "amp" => "&",
            "lt" => "<",
            "gt" => ">",
            "quot" => "\"",
            other => panic!("&{other}; in {text}"),
        };
        out += rest;
    }
    out
}

/// What no list of elements can say.
fn assert_shape(root: &Element) {
    for (name, count) in [("head", 1), ("body", 1), ("title", 1), ("style", 1), ("h1", 1)] {
        assert_eq!(root.all(name).len(), count, "<{name}>");
    }
    let names = |element: &Element| element.children.iter().map(|child| child.name.clone()).collect::<Vec<_>>();
    for list in root.all("dl") {
        assert!(names(list).chunks(2).all(|pair| pair == ["dt", "dd"]), "{list:?}");
    }
    for part in ["ul", "tr", "thead", "tbody", "dl", "code", "h1", "h2", "h3", "title", "th"] {
        for element in root.all(part) {
            assert!(!element.children.is_empty() || !element.text.is_empty(), "an empty <{part}>");
        }
    }
    for table in root.all("table") {
        assert_eq!(names(table), ["thead", "tbody"]);
        let width = |row: &&Element| -> usize {
            let span = |cell: &Element| cell.attribute("colspan").map_or(1, |count| count.parse().unwrap());
            row.children.iter().map(span).sum()
        };
        let widths: BTreeSet<usize> = table.all("tr").iter().map(width).collect();
        assert_eq!(widths.len(), 1, "every row has as many cells: {widths:?}");
    }
    assert_style(&root.all("style")[0].text);
}

/// Nothing is loaded, and every class that the page may have is said something of.
fn assert_style(style: &str) {
    for forbidden in ["url(", "@import", "expression", "\\", "<"] {
        assert!(!style.contains(forbidden), "{forbidden} in the style sheet");
    }
    assert_eq!(style.matches('{').count(), style.matches('}').count(), "{style}");
    for class in ["good", "doubtful", "bad", "quiet", "wide", "more"] {
        assert!(style.contains(&format!(".{class}")), "{class} has no style");
    }
}
