//! An MQTT broker.

pub mod access;

pub use access::{
    Access, AccessToken, AllowAll, AnonymousOnLoopback, Answer, Client, Denied, Login, PublishQuestion,
    SubscribeQuestion,
};
