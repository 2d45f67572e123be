//! What only the inside can bring about.

use std::sync::{Arc, Mutex};

use crate::reactor::Command;

use super::{AsyncManager, Incident};

/// J15. User code cannot do this to the thread; a defect of the loop itself could.
#[test]
fn j15_when_the_thread_dies_everybody_is_told() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let incidents = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&incidents);
        let hook = move |incident: &Incident| list.lock().unwrap().push(incident.to_string());
        let manager = AsyncManager::builder(|| 0u64).on_incident(hook).start().await.unwrap();
        let handle = manager.handle();
        manager.waker().push(Command::Run(Box::new(|_| panic!("the loop is broken")))).unwrap();
        // It waits behind, in the same turn or another.
        let e = handle.with(|cx| *cx.state).await.unwrap_err();
        assert!(e.is_stopped(), "{e}");
        let report = manager.ended().await;
        assert!(!manager.running());
        assert_eq!(report.died.as_deref(), Some("its thread panicked: the loop is broken"));
        assert_eq!(
            *incidents.lock().unwrap(),
            ["the loop's thread has ended: its thread panicked: the loop is broken"]
        );
        assert_eq!(manager.shutdown().await, report);
    });
}

#[test]
fn a_state_that_panics_when_it_is_dropped_is_told_as_well() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("the state fell");
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let manager = AsyncManager::builder(|| Bomb).start().await.unwrap();
        let report = manager.shutdown().await;
        assert_eq!(report.died.as_deref(), Some("its thread panicked: the state fell"));
    });
}
