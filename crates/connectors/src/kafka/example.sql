CREATE TABLE orders (
  id BIGINT,
  item STRING,
  price DECIMAL(10, 2),
  ordered TIMESTAMP_LTZ(3) METADATA FROM 'timestamp',
  WATERMARK FOR ordered AS ordered - INTERVAL '5' SECOND
) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'properties.group.id' = 'shop',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'json'
);

CREATE TABLE sales (
  item STRING,
  total DECIMAL(38, 2),
  PRIMARY KEY (item) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka',
  'topic' = 'sales',
  'properties.bootstrap.servers' = 'localhost:9092',
  'key.format' = 'json',
  'value.format' = 'json'
);

INSERT INTO sales SELECT item, SUM(price) FROM orders GROUP BY item;
