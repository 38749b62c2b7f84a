"""The wire format of gRPC: generated from open_inference.proto."""
