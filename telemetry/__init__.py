"""What the service tells operators about itself: it hears what happens, and hands it to Prometheus."""
