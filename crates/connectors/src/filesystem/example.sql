CREATE TABLE visits (
  page STRING,
  visitor BIGINT,
  dt STRING,
  file STRING METADATA FROM 'file.name' VIRTUAL
) PARTITIONED BY (dt) WITH (
  'connector' = 'filesystem',
  'path' = 'visits',
  'format' = 'csv',
  'sink.partition-commit.policy.kind' = 'success-file'
);

INSERT INTO visits VALUES ('/', 1, '2024-06-01'), ('/cart', 1, '2024-06-01'), ('/', 2, '2024-06-02');

-- Reads one folder only.
SELECT page, visitor FROM visits WHERE dt = '2024-06-01';
