//! The blocks of a PEM text, each with what is wrong with it, read as widely as `openssl` reads them: any text around
//! them, CRLF, a byte-order mark, blanks at the ends of lines, headers (RFC 1421).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
const LONGEST_LABEL: usize = 40;
const PRIVATE: &str = "PRIVATE KEY";

/// A block.
pub(super) struct Block {
    /// What stands between BEGIN and the dashes, as far as a message may show it: nothing of a body is in it.
    pub label: String,
    /// The line of its BEGIN, from 1.
    pub line: usize,
    /// What is in it, or what is wrong.
    pub contents: Result<Vec<u8>, &'static str>,
}

impl Block {
    pub(super) fn is_private(&self) -> bool {
        self.label.contains(PRIVATE)
    }
}

/// All blocks, in order. Takes time in proportion to the text, whatever it holds.
pub(super) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let (mut line, mut pieces) = (1, text.split(BEGIN));
    line += pieces.next().map_or(0, lines);
    for piece in pieces {
        blocks.push(block(piece, line));
        line += lines(piece);
    }
    blocks
}

fn lines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// The block that begins where `piece` does, which ends before the next BEGIN.
fn block(piece: &str, line: usize) -> Block {
    let first = piece.split(['\n', '\r']).next().unwrap_or_default();
    let Some((label, _)) = first.split_once(DASHES) else {
        let label = [PRIVATE, "PUBLIC KEY"].into_iter().find(|label| first.contains(label)).unwrap_or("unknown");
        return Block { label: label.into(), line, contents: Err("its first line does not end in -----") };
    };
    let body = &piece[label.len() + DASHES.len()..];
    let contents = match body.split_once(END) {
        None => Err("it has no -----END line"),
        Some((_, end)) if !end.strip_prefix(label).is_some_and(|end| end.starts_with(DASHES)) => {
            Err("its -----END line has another label")
        }
        Some((body, _)) => decode(body),
    };
    Block { label: shown(label), line, contents }
}

/// A label that may stand in a message: of one that is run into its body, only what comes before that.
fn shown(label: &str) -> String {
    let end = label.find(PRIVATE).map_or(label.len(), |at| at + PRIVATE.len());
    label[..end].chars().take(LONGEST_LABEL).collect()
}

fn decode(body: &str) -> Result<Vec<u8>, &'static str> {
    if body.contains("\\n") {
        return Err("its line breaks are written out as a backslash and an n");
    }
    let mut lines = body.lines().map(str::trim).skip_while(|line| line.is_empty()).peekable();
    if lines.peek().is_some_and(|line| line.contains(':')) {
        // Headers, which an empty line ends.
        lines.by_ref().find(|line| line.is_empty());
    }
    let base64: String = lines.flat_map(|line| line.chars()).filter(|c| !c.is_whitespace()).collect();
    if base64.is_empty() {
        return Err("it is empty");
    }
    STANDARD.decode(base64).map_err(|_| "its base64 is damaged")
}
