//! What the public types are, whatever is inside: what other threads may have, and what is an error. That a manager stays on its
//! thread is a doc test (`src/wont_compile.rs`).

use std::error::Error;
use std::fmt::Debug;

use vansire::{
    Address, CloseReason, ConnId, ConnInfo, ConnMap, ConnectOptions, Limits, ListenOptions, Observer, Resolver, Stall,
    StallWatch, Stats, TimerId, Url, Waker,
};

fn for_all_threads<T: Debug + Send + Sync + 'static>() {}
fn for_one_at_a_time<T: Debug + Send + 'static>() {}
fn an_error<T: Error + Send + Sync + 'static>() {}

#[test]
fn what_reaches_a_loop_from_elsewhere_is_send_and_sync() {
    for_all_threads::<Waker>();
    for_all_threads::<Observer>();
    for_all_threads::<(ConnId, TimerId)>();
    for_all_threads::<(Url, Address)>();
}

#[test]
fn options_and_what_is_told_can_be_sent() {
    for_all_threads::<(ListenOptions, ConnectOptions, Limits, Resolver)>();
    for_all_threads::<(CloseReason, ConnInfo, Stats, Stall)>();
    for_all_threads::<ConnMap<u8>>();
    for_one_at_a_time::<StallWatch>();
    #[cfg(feature = "dns")]
    for_all_threads::<(vansire::DnsOptions, vansire::dns::Message)>();
    #[cfg(feature = "mdns")]
    for_all_threads::<(vansire::mdns::Options, vansire::mdns::Service, vansire::mdns::Found)>();
    #[cfg(feature = "mqtt")]
    for_all_threads::<(vansire::mqtt::ClientOptions, vansire::mqtt::PropertyBuf, vansire::mqtt::ReasonCode)>();
    #[cfg(feature = "broker")]
    for_all_threads::<(vansire::broker::Stats, vansire::broker::ClientInfo, vansire::broker::Event)>();
    #[cfg(feature = "sntp")]
    for_all_threads::<(vansire::sntp::ClientOptions, vansire::sntp::Sample, vansire::sntp::SyncStatus)>();
    #[cfg(feature = "static")]
    for_all_threads::<(vansire::files::Options, vansire::http::Part)>();
}

#[test]
fn errors_are_errors_that_any_thread_may_have() {
    an_error::<vansire::Error>();
    #[cfg(feature = "http")]
    {
        an_error::<vansire::http::ParseError>();
        an_error::<vansire::http::EncodeError>();
        an_error::<vansire::http::BodyError>();
        an_error::<vansire::http::BadEscape>();
        an_error::<vansire::http::sse::BadField>();
    }
    #[cfg(feature = "mqtt")]
    {
        an_error::<vansire::mqtt::DecodeError>();
        an_error::<vansire::mqtt::EncodeError>();
        an_error::<vansire::mqtt::TopicError>();
        an_error::<vansire::mqtt::SendError>();
        an_error::<vansire::mqtt::Failure>();
        an_error::<vansire::mqtt::Fault>();
        an_error::<vansire::mqtt::Overdue>();
    }
    #[cfg(feature = "mqttbytes")]
    an_error::<vansire::mqtt::NotConvertible>();
    #[cfg(feature = "dns")]
    {
        an_error::<vansire::dns::LookupError>();
        an_error::<vansire::dns::DecodeError>();
        an_error::<vansire::dns::NameError>();
    }
    #[cfg(feature = "mdns")]
    an_error::<vansire::mdns::ServiceError>();
    #[cfg(feature = "sntp")]
    {
        an_error::<vansire::sntp::Refusal>();
        an_error::<vansire::sntp::GivenUp>();
        an_error::<vansire::sntp::Unanswered>();
    }
    #[cfg(feature = "sim")]
    an_error::<vansire::sim::Failure>();
}

/// The state stays on the loop's thread: it does not matter what it is.
#[cfg(all(feature = "async", feature = "http", feature = "mqtt", feature = "sntp"))]
#[test]
fn what_async_code_holds_is_send_and_sync_though_the_state_is_not() {
    use std::rc::Rc;
    use vansire::aio;

    type State = Rc<std::cell::Cell<u8>>;
    for_all_threads::<vansire::AsyncManager<State>>();
    for_all_threads::<aio::Handle<State>>();
    for_all_threads::<aio::HttpClient<State>>();
    for_all_threads::<aio::MqttClient<State>>();
    for_all_threads::<aio::SntpClient<State>>();
    for_all_threads::<(aio::Conn, aio::Timer)>();
    for_all_threads::<(aio::OwnedEvent, aio::Response, aio::ShutdownReport, aio::Incident)>();
    for_one_at_a_time::<aio::EventStream>();
    for_one_at_a_time::<aio::MqttMessages>();
    for_one_at_a_time::<aio::MqttMessage>();
}
