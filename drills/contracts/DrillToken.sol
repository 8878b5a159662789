// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The least of an ERC-20 that a drill needs: who holds how much, and a transfer
/// @dev Drills put this code at the addresses that the real tokens have on their chain, and write the holdings into the
///      storage: slot 0 is the mapping. Nobody can create any later.
contract DrillToken {
    mapping(address holder => uint256) public balanceOf;

    event Transfer(address indexed from, address indexed to, uint256 value);

    error Insufficient(uint256 held, uint256 wanted);

    function transfer(address to, uint256 value) external returns (bool) {
        uint256 held = balanceOf[msg.sender];
        if (held < value) revert Insufficient(held, value);
        balanceOf[msg.sender] = held - value;
        balanceOf[to] += value;
        emit Transfer(msg.sender, to, value);
        return true;
    }
}
