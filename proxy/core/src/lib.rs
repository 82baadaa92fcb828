//! The proxy without its process: event loop, pools, sessions, settings, statistics, administration.
