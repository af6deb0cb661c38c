//! The gateway's promises, at the wire: the real server on port 0, FakeLlama behind it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bus;
mod bytes;
mod contract;
mod door;
mod draining;
mod failing;
mod frames;
mod gateway;
mod http;
mod identity;
mod identity_jwt;
mod identity_limits;
mod identity_sessions;
mod identity_tickets;
mod issuer;
mod leaving;
mod logs;
mod long;
mod many;
mod observability;
mod operators;
mod page;
mod raw;
mod settings;
mod several;
mod store;
mod tracing;
mod v1;
mod v2;
mod v2_bad_frames;
mod v2_context;
mod v2_cuts;
mod v2_drain;
mod v2_hello;
mod v2_limits;
mod v2_list;
mod v2_lost;
mod v2_queue;
mod v2_slow;
mod v2_stop;
mod v2_storage;
mod v2_tools;
mod v2_tree;
mod visitors;
