"""What clients speak to: HTTP, gRPC, access, the processes of the server."""
