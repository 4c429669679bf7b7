//! An HTML page that needs nothing else: no script, no picture, no font, no link. maud escapes whatever is put in.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::markup::printable;

/// How a thing stands, as the page colours it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// As it should be.
    Good,
    /// It cannot be told, or is worth a look.
    Doubtful,
    /// Something has to be done.
    Bad,
    /// Neither good nor bad.
    Quiet,
}

impl Mood {
    /// The class of the style sheet.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Doubtful => "doubtful",
            Self::Bad => "bad",
            Self::Quiet => "quiet",
        }
    }
}

/// On a narrow screen a table's cells stand below each other: side by side, names would be cut into pieces.
const STYLE: &str = "\
:root{color-scheme:light dark;--good:#1a7f37;--doubtful:#8a6100;--bad:#c1121f;--quiet:#667;--line:#8884}\
@media(prefers-color-scheme:dark){:root{--good:#4cc26a;--doubtful:#e0b040;--bad:#ff7b72;--quiet:#99a}}\
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.6rem;line-height:1.25;border-left:.5rem solid currentColor;padding-left:1rem}\
h2{font-size:1.2rem;margin-top:2.5rem}h3{font-size:1rem;margin:1.5rem 0 .25rem}\
.good{color:var(--good)}.doubtful{color:var(--doubtful)}.bad{color:var(--bad)}.quiet{color:var(--quiet)}\
td.good,td.doubtful,td.bad,td.quiet{font-weight:600;white-space:nowrap}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem}dt{color:var(--quiet)}dd{margin:0}\
h1,dd,li,p{overflow-wrap:anywhere}\
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.35rem 1.5rem .35rem 0;border-bottom:1px solid var(--line)}th:last-child,td:last-child{padding-right:0}\
code{font-family:ui-monospace,monospace;font-size:.9em;overflow-wrap:anywhere}li{margin:.35rem 0}\
tr:has(+.more) td{border:0}.more ul{margin:0}\
tr,li{break-inside:avoid}h2,h3{break-after:avoid}\
@media(max-width:45rem){thead{display:none}table,tbody,tr,td{display:block}\
tr{padding:.5rem 0;border-bottom:1px solid var(--line)}td{padding:0;border:0}\
tr:has(+.more){border:0;padding-bottom:0}.more{padding-top:0}td:first-child:not([colspan]){font-weight:600}\
dl{display:block}dd{margin-bottom:.25rem}ul{padding-left:1.25rem}}\
@media print{body{margin:0;max-width:none}}";

/// A page: a headline, what was looked at, and the rest.
pub fn page(title: &str, headline: (&str, Mood), facts: &[(&str, String)], body: &Markup) -> String {
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Should anything ever slip through, the browser still loads and runs nothing.
                meta http-equiv="Content-Security-Policy" content=(policy);
                title { (printable(title)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 class=(headline.1.class()) { (printable(headline.0)) }
                dl { @for (name, value) in facts { dt { (name) } dd { (printable(value)) } } }
                (body)
                p.quiet { "Made by rolecall " (env!("CARGO_PKG_VERSION")) "." }
            }
        }
    };
    page.into_string()
}
