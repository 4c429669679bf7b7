//! The procedures of `docs/procedures.md`, step by step as a user goes through them: the commands are read from the page and run by
//! a shell, on real API servers, with the operator as a process; AWS is the model, behind a port. An [`oracle`] looks at AWS after
//! every write.
//!
//! Each procedure is gone through twice: straight, and with the operator killed in and after each step.

mod boundary;
mod ccoctl;
mod disaster;
mod keys;
mod management_clusters;
mod oracle;
mod page;
mod rename;
mod retire;
mod site;
mod stage;
mod take_over;

pub use stage::{Stage, Way};

/// Makes two tests of each function that takes a [`Way`].
macro_rules! in_both_ways {
    ($($test:ident),+ $(,)?) => {
        mod straight {
            $(#[test]
            fn $test() {
                super::$test($crate::procedures::Way::Straight);
            })+
        }

        mod killed_at_each_step {
            $(#[test]
            fn $test() {
                super::$test($crate::procedures::Way::Killed);
            })+
        }
    };
}
use in_both_ways;
