//! Integration tests: the real binary against a real kube-apiserver and etcd, and AWS emulators behind a proxy.

mod contract;
mod scene;
mod support;
