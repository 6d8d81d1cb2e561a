-- protoc --include_imports --descriptor_set_out=orders.desc orders.proto
CREATE TABLE orders (id BIGINT, item STRING, price DOUBLE)
WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'protobuf',
  'protobuf.descriptor-file' = 'orders.desc',
  'protobuf.message-class-name' = 'shop.Order'
);

SELECT item, SUM(price) AS total FROM orders GROUP BY item;
