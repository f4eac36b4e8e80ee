//! Listeners: TLS, HTTP, the admin API; it introduces doors to the road.
