//! The programs in the guides, which `cargo test --doc` compiles and runs.

#[doc = include_str!("../README.md")]
mod readme {}

#[doc = include_str!("../docs/first-steps.md")]
mod first_steps {}

#[doc = include_str!("../docs/sockets.md")]
mod sockets {}

#[doc = include_str!("../docs/http.md")]
mod http {}

#[doc = include_str!("../docs/mqtt.md")]
mod mqtt {}

#[doc = include_str!("../docs/time-and-names.md")]
mod time_and_names {}

#[doc = include_str!("../docs/testing.md")]
mod testing {}

#[cfg(feature = "async")]
#[doc = include_str!("../docs/shutdown.md")]
mod shutdown {}
