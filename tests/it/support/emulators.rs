//! The AWS emulators: moto for IAM and STS, MiniStack for S3. Neither is AWS; together they come near.
//!
//! What each cannot do, found by trying moto 5.2.5 and MiniStack 1.5.33:
//! - moto breaks under concurrent requests: go through a [`Proxy`](super::Proxy), which lets one at a time through.
//! - `AddClientIDToOpenIDConnectProvider` and its `Remove…`: neither knows them (moto answers with a 500 page), and
//!   moto's `UpdateRole` resets a left-out description or session duration. The proxy puts both right
//!   (`proxy/moto.rs`).
//! - MiniStack's IAM cannot change thumbprints or tags of a provider. moto's can.
//! - MiniStack ignores `x-amz-expected-bucket-owner`: the proxy checks it.
//! - MiniStack's `PutObject` without tags keeps those that the object had; AWS removes them.
//! - Both take `CreateOpenIDConnectProvider` without thumbprints and then list none; AWS fetches one.
//! - Neither sees that the role names `Q1` and `q1` are the same, reads trust policies, or (moto) misses a boundary
//!   policy that does not exist.

use std::fs;
use std::net::TcpStream;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use super::process::{Process, free_port, run_dir, tool};

/// The account of both emulators. moto's own; MiniStack is told by `MINISTACK_ACCOUNT_ID` (a 12-digit access key id
/// also chooses the account in MiniStack, but that would have to be undone for moto).
pub const ACCOUNT: &str = "123456789012";

/// Credentials that may do everything in both: moto does not look at them, MiniStack knows them as the root user (who
/// passes every check; other keys must be those of a user made there, and signatures fit).
pub const ACCESS_KEY_ID: &str = "test";
/// See [`ACCESS_KEY_ID`].
pub const SECRET_ACCESS_KEY: &str = "test";

/// moto and MiniStack, started.
pub struct Emulators {
    moto: String,
    ministack: String,
    _servers: Mutex<[Process; 2]>,
}

impl Emulators {
    /// The emulators of this test binary; starts them the first time (a few seconds).
    pub fn shared() -> &'static Emulators {
        static SHARED: OnceLock<Emulators> = OnceLock::new();
        SHARED.get_or_init(Emulators::start)
    }

    fn start() -> Emulators {
        let dir = run_dir().join("emulators");
        let (data, state) = (dir.join("s3"), dir.join("state"));
        for dir in [&data, &state] {
            fs::create_dir_all(dir).expect("cannot create the emulators' directories");
        }

        let moto_port = free_port();
        let mut moto = Process::start(
            "moto",
            &tool("emulators/bin/moto_server"),
            ["-H", "127.0.0.1", "-p", &moto_port.to_string()],
            &[("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")],
            &dir.join("moto.log"),
        );

        let ministack_port = free_port();
        let no_args: [&str; 0] = [];
        let mut ministack = Process::start(
            "MiniStack",
            &tool("emulators/bin/ministack"),
            no_args,
            &[
                ("AUTH", "true"),
                ("MINISTACK_ACCOUNT_ID", ACCOUNT),
                ("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID),
                ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY),
                ("BIND_HOST", "127.0.0.1"),
                ("GATEWAY_PORT", &ministack_port.to_string()),
                ("S3_DATA_DIR", &data.display().to_string()),
                ("STATE_DIR", &state.display().to_string()),
                ("HOME", &dir.display().to_string()),
            ],
            &dir.join("ministack.log"),
        );

        let patience = Duration::from_mins(4);
        moto.wait_until(patience, || TcpStream::connect(("127.0.0.1", moto_port)).is_ok());
        ministack.wait_until(patience, || TcpStream::connect(("127.0.0.1", ministack_port)).is_ok());
        Emulators {
            moto: format!("http://127.0.0.1:{moto_port}"),
            ministack: format!("http://127.0.0.1:{ministack_port}"),
            _servers: Mutex::new([moto, ministack]),
        }
    }

    /// moto: IAM and STS. Not for concurrent use.
    pub fn moto_url(&self) -> &str {
        &self.moto
    }

    /// MiniStack: S3 (also IAM and STS, in a world of its own).
    pub fn s3_url(&self) -> &str {
        &self.ministack
    }
}
