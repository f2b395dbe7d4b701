INSERT INTO deliveries (event_id, destination, attempt, status, detail, attempted_at, due_at)
VALUES (?, ?, ?, ?, ?, ?, ?)
