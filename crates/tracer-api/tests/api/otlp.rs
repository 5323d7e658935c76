//! OpenTelemetry comes in: over HTTP and gRPC, by hand and by the SDK's exporters.

mod answers;
mod bounds;
mod fixtures;
mod grpc;
mod ports;
mod sdk;
mod starts;
mod traces;
