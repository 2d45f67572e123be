//! The MQTT codec as a whole: generated packets of all kinds and versions, and the codecs that others wrote.

mod defects;
mod generate;
mod peers;
mod properties;
