//! Log lines through `tracing`; nothing at all without the feature.

macro_rules! trace_event {
    ($level:ident, $($arg:tt)*) => {{
        #[cfg(feature = "tracing")]
        tracing::$level!($($arg)*);
        #[cfg(not(feature = "tracing"))]
        if false {
            // Keeps the arguments used, at no cost.
            let _ = format_args!($($arg)*);
        }
    }};
}

pub(crate) use trace_event;
