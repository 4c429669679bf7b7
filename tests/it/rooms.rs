//! The core rooms know no I/O: a reader of `docs/architecture.md` may rely on it.

use std::path::Path;

use super::support::process::project_root;

const CORE: [&str; 6] = ["policy", "desired", "observed", "plan", "release", "report"];

/// What the core must not name: clients, async, clocks, the environment, files, the network.
const FORBIDDEN: [&str; 21] = [
    "kube::Client",
    "kube::Api",
    "kube::runtime",
    "crate::aws",
    "crate::kubernetes",
    "crate::controller",
    "crate::apply",
    "crate::cli",
    "aws_config",
    "aws_sdk",
    "aws_smithy",
    "reqwest",
    "tokio",
    "futures",
    "async ",
    ".await",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
    "std::env",
    "std::fs",
];

#[test]
fn core_rooms_import_no_clients_runtime_clock_or_environment() {
    let mut found = Vec::new();
    for room in CORE {
        let dir = project_root().join("src").join(room);
        let files = rust_files(&dir);
        assert!(!files.is_empty(), "room {room} is gone; docs/architecture.md and this test must say so");
        for file in files {
            found.extend(offences(&file));
        }
    }
    assert!(found.is_empty(), "the core does I/O:\n{}", found.join("\n"));
}

/// Registries have their own room, which knows nothing of clusters, of files and of the environment.
#[test]
fn the_registry_room_knows_no_cluster() {
    let mut found = Vec::new();
    for file in rust_files(&project_root().join("src/registry")) {
        let text = std::fs::read_to_string(&file).expect("a source file");
        let strangers =
            ["kube::", "k8s_", "aws_sdk", "aws_config", "crate::controller", "crate::cli", "std::env", "std::fs"];
        found.extend(
            strangers.iter().filter(|word| text.contains(*word)).map(|word| format!("{}: {word}", file.display())),
        );
    }
    assert!(found.is_empty(), "the registry room reaches out of itself:\n{}", found.join("\n"));
}

/// `std::net` is left out of the list: parsing an address is no I/O. Opening a socket is.
fn offences(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).expect("a source file");
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    let sockets = ["TcpStream", "TcpListener", "UdpSocket"];
    lines
        .filter(|(_, line)| FORBIDDEN.iter().chain(&sockets).any(|word| line.contains(word)))
        .map(|(number, line)| format!("{}:{}: {}", file.display(), number + 1, line.trim()))
        .collect()
}

fn rust_files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a room") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Files stay small: one thought each.
#[test]
fn no_source_file_has_more_than_600_lines() {
    let root = project_root();
    let long: Vec<String> = [root.join("src"), root.join("tests/it")]
        .iter()
        .flat_map(|dir| rust_files(dir))
        .filter_map(|file| {
            let lines = std::fs::read_to_string(&file).expect("a source file").lines().count();
            (lines > 600).then(|| format!("{}: {lines} lines", file.display()))
        })
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}
