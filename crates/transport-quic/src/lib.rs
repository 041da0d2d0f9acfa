//! QUIC with mutual TLS 1.3 between brokers, executors and clients of Reconvene.
