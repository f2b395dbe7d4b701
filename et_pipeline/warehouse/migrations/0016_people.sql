-- Notifications to people: notices in addition to events, and one notification for each address.
CREATE TABLE notices (
    notice_id VARCHAR NOT NULL, topic VARCHAR NOT NULL, experiment_id VARCHAR, severity VARCHAR NOT NULL,
    message VARCHAR NOT NULL, noticed_at TIMESTAMP NOT NULL, seq BIGINT NOT NULL
);
CREATE TABLE failing_checks (
    check_name VARCHAR NOT NULL, experiment_id VARCHAR NOT NULL, since TIMESTAMP NOT NULL, sentence VARCHAR NOT NULL
);
CREATE TABLE notifications (
    notification_id VARCHAR NOT NULL, address VARCHAR NOT NULL, topic VARCHAR NOT NULL, experiment_id VARCHAR,
    sources VARCHAR[] NOT NULL, message VARCHAR NOT NULL, payload VARCHAR NOT NULL, created_at TIMESTAMP NOT NULL,
    seq BIGINT NOT NULL
);
CREATE TABLE addressed (source_id VARCHAR NOT NULL);
-- In an existing warehouse, events of the past are marked, so that nobody is notified of them.
INSERT INTO addressed SELECT event_id FROM events;

CREATE VIEW messages AS
SELECT event_id, kind, experiment_id, reason_code, message, payload, NULL::VARCHAR AS destination, seq FROM events
UNION ALL
SELECT notification_id, 'notification', experiment_id, NULL, message, payload, 'people:' || address, seq
FROM notifications;

COMMENT ON TABLE notices IS 'What people may be told although no message to another system says it: a contradicted verdict, a failed check, a failed run.';
COMMENT ON COLUMN notices.notice_id IS 'Derived from what it tells: telling twice notes once.';
COMMENT ON COLUMN notices.topic IS 'verdict_contradicted, check_failed, check_warning or run_failed.';
COMMENT ON COLUMN notices.experiment_id IS 'The experiment (experiments.experiment_id); null where it is about none.';
COMMENT ON COLUMN notices.severity IS 'WARN or ERROR.';
COMMENT ON COLUMN notices.message IS 'One plain sentence.';
COMMENT ON COLUMN notices.noticed_at IS 'When it was noticed (UTC).';
COMMENT ON COLUMN notices.seq IS 'Order of noticing.';
COMMENT ON TABLE failing_checks IS 'Checks that did not pass in the newest tick. A row goes away when the check passes again.';
COMMENT ON COLUMN failing_checks.check_name IS 'The asset and its check.';
COMMENT ON COLUMN failing_checks.experiment_id IS 'The experiment that it fails for; empty where it is about none.';
COMMENT ON COLUMN failing_checks.since IS 'The first tick in a row in which it failed (UTC).';
COMMENT ON COLUMN failing_checks.sentence IS 'What is wrong, as it was in that first tick.';
COMMENT ON TABLE notifications IS 'One row a message to people: one address, one topic, everything about it that was new.';
COMMENT ON COLUMN notifications.notification_id IS 'Derived from address and sources; deliveries.event_id names it.';
COMMENT ON COLUMN notifications.address IS 'Name of the address in notifications.yaml.';
COMMENT ON COLUMN notifications.topic IS 'What it is about, as routes in notifications.yaml name it.';
COMMENT ON COLUMN notifications.experiment_id IS 'The experiment (experiments.experiment_id); null where it is about several or none.';
COMMENT ON COLUMN notifications.sources IS 'The events and notices that it tells (events.event_id, notices.notice_id).';
COMMENT ON COLUMN notifications.message IS 'Its title.';
COMMENT ON COLUMN notifications.payload IS 'Title, text and severity as JSON.';
COMMENT ON COLUMN notifications.created_at IS 'When it was put together (UTC).';
COMMENT ON COLUMN notifications.seq IS 'Order in which they were put together.';
COMMENT ON TABLE addressed IS 'Technical: events and notices for which it was looked up whom to tell.';
COMMENT ON COLUMN addressed.source_id IS 'The event or notice (events.event_id, notices.notice_id).';
COMMENT ON VIEW messages IS 'Every message that leaves: events to other systems, notifications to people.';
COMMENT ON COLUMN messages.event_id IS 'The event or notification; deliveries.event_id names it.';
COMMENT ON COLUMN messages.kind IS 'reason_code, drift_signal, promotion_review or notification.';
COMMENT ON COLUMN messages.experiment_id IS 'The experiment (experiments.experiment_id); null where it is about several or none.';
COMMENT ON COLUMN messages.reason_code IS 'The code (reason_codes.code); null for the other kinds.';
COMMENT ON COLUMN messages.message IS 'One plain sentence.';
COMMENT ON COLUMN messages.payload IS 'The whole message as JSON.';
COMMENT ON COLUMN messages.destination IS 'Where a notification goes: people and the address; null for events, whose kind decides.';
COMMENT ON COLUMN messages.seq IS 'Order within events and within notifications.';
COMMENT ON COLUMN deliveries.event_id IS 'The message (events.event_id, notifications.notification_id).';
