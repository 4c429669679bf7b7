//! Archives as builders make them, and as nobody should.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use tar::{Builder, Header};

use super::*;
use crate::release::payload::Payload;

const REQUEST: &str = "apiVersion: cloudcredential.openshift.io/v1\nkind: CredentialsRequest\nmetadata: {name: a, namespace: ns}\nspec: {secretRef: {name: s, namespace: ns}}\n";

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o444);
        builder.append_data(&mut header, path, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn unpacked(bytes: &[u8], digest: &Digest, limit: u64) -> Result<(payload::Layer, u64), Problem> {
    let pieces: Vec<Vec<u8>> = bytes.chunks(1000).map(<[u8]>::to_vec).collect();
    let (sender, receiver) = tokio::sync::mpsc::channel(pieces.len().max(1));
    for piece in pieces {
        sender.try_send(piece).unwrap();
    }
    drop(sender);
    unpack(receiver, digest, limit)
}

/// The requests' files in a layer.
fn requests(bytes: &[u8]) -> Result<Vec<String>, Problem> {
    let (layer, _) = unpacked(bytes, &Digest::of(bytes), u64::MAX)?;
    let mut payload = Payload::default();
    payload.take(layer).unwrap();
    Ok(payload.read().unwrap().manifests.into_iter().map(|manifest| manifest.file).collect())
}

#[test]
fn every_packing_gives_the_same() {
    let long = format!("release-manifests/0000_50_{}.yaml", "n".repeat(200));
    let plain = archive(&[("usr/bin/x", &[7; 5000]), (&long, REQUEST.as_bytes()), ("etc/y", b"z")]);
    let (one, two) = plain.split_at(1500);
    let zstd = |bytes: &[u8]| compress_to_vec(bytes, CompressionLevel::Fastest);
    let skippable = [&0x184D_2A50_u32.to_le_bytes()[..], &1_u32.to_le_bytes(), b"x"].concat();
    for packed in [
        plain.clone(),
        gzip(&plain),
        [gzip(one), gzip(two)].concat(),
        zstd(&plain),
        [skippable, zstd(one), zstd(two)].concat(),
        [gzip(&plain), b"trailing bytes".to_vec()].concat(),
    ] {
        assert_eq!(requests(&packed).unwrap(), [long.as_str()]);
    }
}

#[test]
fn long_names_in_extended_headers() {
    let mut builder = Builder::new(Vec::new());
    builder.append_pax_extensions([("path", &b"release-manifests/a.yaml"[..]), ("mtime", b"1.5")]).unwrap();
    let mut header = Header::new_ustar();
    header.set_size(REQUEST.len() as u64);
    header.set_path("PaxHeaders/short").unwrap();
    header.set_cksum();
    builder.append(&header, REQUEST.as_bytes()).unwrap();
    assert_eq!(requests(&builder.into_inner().unwrap()).unwrap(), ["release-manifests/a.yaml"]);
}

#[test]
fn damage_is_told_from_a_wrong_digest() {
    let good = gzip(&archive(&[("release-manifests/a.yaml", REQUEST.as_bytes())]));
    let mut flipped = good.clone();
    flipped[40] ^= 0xFF;
    for changed in [&flipped, &good[..good.len() / 2], b"", b"x"] {
        assert!(matches!(unpacked(changed, &Digest::of(&good), 1 << 20), Err(Problem::Digest(_))));
    }
    for broken in [&flipped, &good[..good.len() / 2], &[9; 600], &b"\x1f\x8b garbage"[..], &ZSTD] {
        assert!(matches!(requests(broken), Err(Problem::Broken(_))), "{broken:?}");
    }
    // After the end of the archive, too.
    let longer = [&good[..], b"more"].concat();
    assert!(matches!(unpacked(&longer, &Digest::of(&good), 1 << 20), Err(Problem::Digest(_))));
}

#[test]
fn what_is_too_large_is_refused() {
    let mut header = Header::new_gnu();
    header.set_path("release-manifests/a.yaml").unwrap();
    header.set_size(LARGEST_FILE as u64 + 1);
    header.set_cksum();
    assert!(matches!(requests(header.as_bytes()), Err(Problem::LargeFile { .. })));
    let archive = archive(&[("usr/bin/x", &[7; 5000])]);
    assert!(matches!(unpacked(&archive, &Digest::of(&archive), 4000), Err(Problem::Bomb)));
    // Zeros, packed a thousandfold.
    header.set_path("usr/bin/zeros").unwrap();
    header.set_size(1 << 40);
    header.set_cksum();
    let member = gzip(&vec![0; 1 << 16]);
    let bomb = [gzip(header.as_bytes()), member.repeat(usize::try_from(RATIO_FROM >> 16).unwrap() + 2)].concat();
    assert!(matches!(unpacked(&bomb, &Digest::of(&bomb), u64::MAX), Err(Problem::Bomb)));
    // A name as long as a book.
    let mut name = Header::new_gnu();
    name.set_entry_type(EntryType::GNULongName);
    name.set_size(LARGEST_HEADER + 1);
    name.set_cksum();
    let long = [&name.as_bytes()[..], &[b'a'; 1025].repeat(1024)].concat();
    assert!(matches!(requests(&long), Err(Problem::Broken(why)) if why.contains("header")));
}
