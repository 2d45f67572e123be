//! What happens in a world beside HTTP pipelines and MQTT: each side acts, and judges what comes of it.

mod echo;
mod fetches;
mod names;
mod times;
mod watches;

pub(super) use self::echo::Echo;
pub(super) use self::fetches::Fetches;
pub(super) use self::names::Names;
pub(super) use self::times::Times;
pub(super) use self::watches::Watches;
