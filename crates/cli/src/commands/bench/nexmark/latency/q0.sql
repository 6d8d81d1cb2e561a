-- As q0; a bid completes itself.
SELECT auction, bidder, price, `dateTime`, extra, `dateTime` AS completed FROM bid;
