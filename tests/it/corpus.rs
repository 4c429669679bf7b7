//! The fuzz targets' properties (`fuzz/properties.rs`) over the kept corpus, and over mutations of it for some seconds:
//! on stable, without cargo-fuzz. `ROLECALL_FUZZ_SECONDS` makes it a fuzzer that knows nothing of coverage.
#![allow(clippy::print_stderr, reason = "a run of mutations tells what it did, and on what it fell")]

#[path = "../../fuzz/properties.rs"]
mod properties;

use std::time::{Duration, Instant};

use super::support::process::project_root;

/// The entries of a corpus, by name, so that every run begins alike.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = project_root().join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let entries: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    assert!(entries.len() >= 5, "{target} has {} entries", entries.len());
    entries
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 33).unwrap() % most.max(1)
    }

    fn mutated(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        const PIECES: [&[u8]; 16] = [
            b"*", b"?", b"\"", b"{", b"}", b"[", b"]", b":", b"\n", b"${", b"%25", b"Not", b"\xff", b"- ", b"Deny",
            b"a",
        ];
        let mut data = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(data.len() + 1);
            match self.below(5) {
                0 if at < data.len() => data[at] = u8::try_from(self.below(256)).unwrap(),
                1 => data.truncate(at),
                2 => {
                    let end = (at + self.below(12)).min(data.len());
                    data.drain(at..end);
                }
                3 => {
                    let other = &corpus[self.below(corpus.len())];
                    let from = self.below(other.len() + 1);
                    let to = (from + self.below(60)).min(other.len());
                    data.splice(at..at, other[from..to].iter().copied());
                }
                _ => {
                    let piece = PIECES[self.below(PIECES.len())];
                    data.splice(at..at, piece.iter().copied());
                }
            }
        }
        data
    }
}

fn run(target: &str, property: fn(&[u8])) {
    let corpus = corpus(target);
    for entry in &corpus {
        property(entry);
    }
    let seconds = std::env::var("ROLECALL_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let (end, mut chance, mut runs) = (Instant::now() + Duration::from_secs(seconds.unwrap_or(2)), Chance(1), 0_u64);
    while Instant::now() < end {
        let data = chance.mutated(&corpus);
        if let Err(panic) = std::panic::catch_unwind(|| property(&data)) {
            eprintln!("{target}: {:?}", String::from_utf8_lossy(&data));
            std::panic::resume_unwind(panic);
        }
        runs += 1;
    }
    assert!(runs > 20, "{runs} mutations");
    eprintln!("{target}: {} entries and {runs} mutations", corpus.len());
}

#[test]
fn policies() {
    run("policy", properties::policy);
}

#[test]
fn patterns() {
    run("patterns", properties::patterns);
}

#[test]
fn manifests() {
    run("manifests", properties::manifests);
}
