"""JetStream to RecordBatch: reads the stream in bulk, decodes its payloads, hands both to the log."""
