//! One tokio runtime behind the synchronous tests: the proxies live on it, and [`block_on`] runs SDK calls.

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::Runtime;

pub(super) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("support")
            .enable_all()
            .build()
            .expect("cannot start a tokio runtime")
    })
}

/// Runs a future to its end from a synchronous test.
pub fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

/// The HTTP client for everything on 127.0.0.1: no proxy from the environment, no redirects.
pub(super) fn http() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        // reqwest wants a provider even where nothing speaks TLS; an error means that there is one already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // The emulators close idle connections after a few seconds.
            .pool_idle_timeout(Duration::from_secs(2))
            .build()
            .expect("cannot build an HTTP client")
    })
}
