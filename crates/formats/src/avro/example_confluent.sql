CREATE TABLE orders (id BIGINT, item STRING, price DECIMAL(10, 2))
WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'avro-confluent',
  'avro-confluent.url' = 'http://localhost:8081'
);

SELECT item, SUM(price) AS total FROM orders GROUP BY item;
