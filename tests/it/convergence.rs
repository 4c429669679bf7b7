//! Convergence as a property: whatever happens on the way, what should be true is true in the end, nothing is made
//! twice, and nothing of others is touched. The passes are made as the controller makes them, against the model of AWS,
//! through the real SDK, in time that does not pass.
//!
//! `ROLECALL_SEEDS=1000` tries more seeds, `ROLECALL_SEEDS=17..18` that one. The same seed meets nearly the same
//! trouble: the jitter of Rolecall's own delays is not drawn from it.

mod bucket;
mod calls;
mod cluster;
mod credentials;
mod crowds;
mod faults;
mod foreign;
mod granted;
mod halted;
mod harm;
mod lag;
mod life;
mod operator;
pub mod seeds;
mod stranger;
mod wishes;

pub use life::LAGGING;
