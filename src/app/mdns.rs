//! The program on the local network: what it announces of itself there, and whether it asks there for names.

use super::config::{Config, MdnsConfig};
use super::mqtt;
use super::reach::Reach;
use crate::error::{Error, Kind, Result};
use crate::manager::mdns::Options;
use crate::manager::{DnsOptions, Resolver};
use crate::net::{Target, Url};
use crate::proto::dns::mdns::Service;

/// On which interfaces, and under which name.
pub(super) fn options(config: &MdnsConfig) -> Options {
    let mut options = Options::new();
    if !config.host.is_empty() {
        options = options.host(&config.host);
    }
    config.interfaces.iter().fold(options, |options, interface| options.interface(interface))
}

/// Who looks names up. Fails where the system's own resolver does, which knows best what is to become of `.local`.
pub(super) fn resolver(config: &MdnsConfig) -> Result<Resolver> {
    if !config.resolve {
        return Ok(Resolver::default());
    }
    let why = "cannot ask the local network for names: on this system names are looked up by the system";
    match Resolver::default() {
        Resolver::Stub(_) => Ok(DnsOptions::new().multicast(true).into()),
        Resolver::System => Err(Error::new(Kind::Unsupported, why)),
    }
}

/// What others are told of a listener; nothing of one that they do not reach, or at which they are refused.
pub(super) fn service(config: &Config, scheme: &str, reach: Reach, port: u16) -> Option<Service> {
    if !config.mdns.announce || !reach.is_from_outside() {
        return None;
    }
    match scheme {
        "http" => Some(Service::new(&config.mdns.name, "_http._tcp", port).txt("path", "/")),
        "mqtt" if !mqtt::is_for_here(&config.mqtt) => Some(Service::new(&config.mdns.name, "_mqtt._tcp", port)),
        _ => None,
    }
}

/// Says why nothing would be announced.
pub(super) fn check(config: &Config) -> std::result::Result<(), String> {
    if !config.mdns.announce {
        return Ok(());
    }
    let http = config.http.listen.iter().map(|listen| ("http", &listen.url));
    let mqtt = config.mqtt.listen.iter().map(|listen| ("mqtt", &listen.url));
    let is_announced = |(scheme, url): (&str, &String)| {
        let Ok(url) = Url::parse(url) else { return false };
        match (url.listen_target(), Reach::of_url(&url)) {
            // Port 0 becomes another.
            (Ok(Target::Inet(_)), Some(reach)) => service(config, scheme, reach, 1).is_some(),
            _ => false,
        }
    };
    if http.chain(mqtt).any(is_announced) {
        return Ok(());
    }
    Err("there is nothing to announce: no listener of http, or of mqtt with users, is reached by other machines".into())
}

#[cfg(test)]
mod tests {
    use super::super::config::{Anonymous, ListenConfig, MqttListenConfig};
    use super::*;

    #[test]
    fn only_what_others_can_use_is_announced() {
        let table: [(&str, &str, Option<Anonymous>, bool); 7] = [
            ("http://127.0.0.1:80", "mqtt://127.0.0.1:1883", None, false),
            ("http://0.0.0.0:80", "mqtt://127.0.0.1:1883", None, true),
            ("http+unix:/run/v.sock", "mqtt://127.0.0.1:1883", None, false),
            ("http://[::]:80", "mqtt://[::1]:1883", None, true),
            ("http://127.0.0.1:80", "mqtt://0.0.0.0:1883", None, false),
            ("http://127.0.0.1:80", "mqtt://0.0.0.0:1883", Some(Anonymous::Always), true),
            ("http://127.0.0.1:80", "mqtt://0.0.0.0:0", Some(Anonymous::Always), true),
        ];
        for (http, mqtt, anonymous, expected) in table {
            let mut config = Config::default();
            config.http.listen = vec![ListenConfig { url: http.into(), ..ListenConfig::default() }];
            config.mqtt.listen = vec![MqttListenConfig { url: mqtt.into(), mode: None }];
            config.mqtt.anonymous = anonymous;
            assert_eq!(check(&config), Ok(()), "off by default");
            config.mdns.announce = true;
            assert_eq!(check(&config).is_ok(), expected, "{http} {mqtt} {anonymous:?}");
        }
        let mut config = Config::default();
        config.mdns.announce = true;
        let kind = |scheme| service(&config, scheme, Reach::EveryNetwork, 80).map(|service| service.kind().to_string());
        assert_eq!((kind("http").as_deref(), kind("sntp")), (Some("_http._tcp"), None));
        assert!(service(&config, "http", Reach::EveryNetwork, 80).unwrap().check().is_ok());
    }
}
